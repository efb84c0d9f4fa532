//! Arbitrary packets that one end may send in one version.

use bytes::Bytes;
use mqtt_codec::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn text() -> impl Strategy<Value = Utf8> {
    "[^\\x00]{0,12}".prop_map(|text| Utf8::try_from(text).unwrap())
}

pub fn topic() -> impl Strategy<Value = Utf8> {
    "[^\\x00+#]{1,24}".prop_map(|text| Utf8::try_from(text).unwrap())
}

fn filter() -> impl Strategy<Value = Utf8> {
    let level = prop_oneof!["[^\\x00+#/]{0,6}", Just("+".to_owned())];
    let levels = (vec(level, 1..5), any::<bool>()).prop_filter_map("empty filter", |(mut levels, all)| {
        if all {
            levels.push("#".to_owned());
        }
        let filter = levels.join("/");
        let valid = !filter.is_empty() && split_shared(&filter).is_ok();
        valid.then_some(filter)
    });
    let plain = levels.prop_map(|filter| Utf8::try_from(filter).unwrap());
    let shared = "\\$share/[a-z]{1,4}/[a-z/]{1,6}".prop_map(|filter| Utf8::try_from(filter).unwrap());
    prop_oneof![4 => plain, 1 => shared]
}

fn binary() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..16).prop_map(Bytes::from)
}

fn secret() -> impl Strategy<Value = Secret> {
    binary().prop_map(Secret::from)
}

pub fn packet_id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|id| PacketId::new(id).unwrap())
}

fn subscription_id() -> impl Strategy<Value = SubscriptionId> {
    (1..=MAX_VARIABLE_BYTE_INTEGER).prop_map(|id| SubscriptionId::new(id).unwrap())
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![
        Just(QoS::AtMostOnce),
        Just(QoS::AtLeastOnce),
        Just(QoS::ExactlyOnce)
    ]
}

fn format() -> impl Strategy<Value = PayloadFormat> {
    prop_oneof![Just(PayloadFormat::Unspecified), Just(PayloadFormat::Utf8)]
}

/// Present or not.
fn maybe<T: Arbitrary + 'static>() -> BoxedStrategy<Option<T>> {
    option::of(any::<T>()).boxed()
}

fn users() -> impl Strategy<Value = Vec<UserProperty>> {
    vec((text(), text()), 0..3)
}

/// The default in 3.1.1, which has no properties.
fn in_v5<T>(version: Version, strategy: impl Strategy<Value = T> + 'static) -> BoxedStrategy<T>
where
    T: Default + Clone + std::fmt::Debug + 'static,
{
    match version {
        Version::V5 => strategy.boxed(),
        Version::V311 => Just(T::default()).boxed(),
    }
}

/// `None` for no properties, as the decoder returns it.
fn boxed<T: Default + PartialEq>(properties: T) -> Option<Box<T>> {
    (properties != T::default()).then(|| Box::new(properties))
}

fn reason(packet: PacketType, version: Version, sender: Role) -> BoxedStrategy<ReasonCode> {
    let codes = (0..=u8::MAX)
        .filter_map(ReasonCode::from_byte)
        .filter(|reason| match (version, packet) {
            (Version::V5, _) => reason.allowed_in(packet, sender),
            (Version::V311, PacketType::ConnAck) => reason
                .connect_return_code()
                .is_some_and(|code| code.reason_code() == *reason),
            (Version::V311, PacketType::SubAck) => matches!(*reason as u8, 0..=2 | 0x80),
            (Version::V311, _) => *reason == ReasonCode::Success,
        });
    proptest::sample::select(codes.collect::<Vec<_>>()).boxed()
}

/// Any packet `sender` may send, CONNECT included.
pub fn packet(version: Version, sender: Role) -> BoxedStrategy<Packet> {
    let v = version;
    let both = prop_oneof![
        publish(v, sender).prop_map(Packet::Publish),
        ack(PacketType::PubAck, v, sender).prop_map(Packet::PubAck),
        ack(PacketType::PubRec, v, sender).prop_map(Packet::PubRec),
        ack(PacketType::PubRel, v, sender).prop_map(Packet::PubRel),
        ack(PacketType::PubComp, v, sender).prop_map(Packet::PubComp),
    ];
    let own = match sender {
        Role::Client => prop_oneof![
            connect(v).prop_map(|connect| Packet::Connect(Box::new(connect))),
            subscribe(v).prop_map(Packet::Subscribe),
            unsubscribe(v).prop_map(Packet::Unsubscribe),
            disconnect(v, sender).prop_map(Packet::Disconnect),
            Just(Packet::PingReq),
        ]
        .boxed(),
        Role::Server => prop_oneof![
            connack(v).prop_map(|connack| Packet::ConnAck(Box::new(connack))),
            suback(v).prop_map(Packet::SubAck),
            unsuback(v).prop_map(Packet::UnsubAck),
            Just(Packet::PingResp),
        ]
        .boxed(),
    };
    let own = match version {
        Version::V311 => own,
        Version::V5 => prop_oneof![
            4 => own,
            1 => auth(sender).prop_map(|auth| Packet::Auth(Box::new(auth))),
            1 => disconnect(v, sender).prop_map(Packet::Disconnect),
        ]
        .boxed(),
    };
    prop_oneof![both, own].boxed()
}

fn connect(version: Version) -> impl Strategy<Value = Connect> {
    let login = (option::of(text()), option::of(secret()));
    (
        any::<bool>(),
        any::<u16>(),
        text(),
        option::of(will(version)),
        login,
        connect_properties(version),
    )
        .prop_map(
            move |(clean_start, keep_alive, client_id, will, (user_name, password), properties)| Connect {
                version,
                clean_start: clean_start || (version == Version::V311 && client_id.is_empty()),
                keep_alive,
                client_id,
                will,
                password: password.filter(|_| version == Version::V5 || user_name.is_some()),
                user_name,
                properties,
            },
        )
}

fn connect_properties(version: Version) -> BoxedStrategy<ConnectProperties> {
    let numbers = (maybe(), maybe(), maybe(), maybe());
    let flags = (maybe(), maybe());
    let method = option::of((text(), option::of(secret())));
    let all = (numbers, flags, users(), method).prop_map(|(numbers, flags, user_properties, method)| {
        let (authentication_method, data) = method.unzip();
        ConnectProperties {
            session_expiry_interval: numbers.0,
            receive_maximum: numbers.1,
            maximum_packet_size: numbers.2,
            topic_alias_maximum: numbers.3,
            request_response_information: flags.0,
            request_problem_information: flags.1,
            user_properties,
            authentication_method,
            authentication_data: data.flatten(),
        }
    });
    in_v5(version, all)
}

fn will(version: Version) -> impl Strategy<Value = Will> {
    let properties = (
        maybe(),
        option::of(format()),
        maybe(),
        option::of(text()),
        option::of(topic()),
        option::of(binary()),
        users(),
    );
    let properties = properties.prop_map(|p| WillProperties {
        will_delay_interval: p.0,
        payload_format_indicator: p.1,
        message_expiry_interval: p.2,
        content_type: p.3,
        response_topic: p.4,
        correlation_data: p.5,
        user_properties: p.6,
    });
    (
        topic(),
        binary(),
        qos(),
        any::<bool>(),
        in_v5(version, properties),
    )
        .prop_map(|(topic, payload, qos, retain, properties)| Will {
            topic,
            payload,
            qos,
            retain,
            properties,
        })
}

fn connack(version: Version) -> impl Strategy<Value = ConnAck> {
    let numbers = (maybe(), maybe(), maybe(), maybe(), maybe());
    let flags = (maybe(), maybe(), maybe(), maybe(), maybe());
    let texts = vec(option::of(text()), 4);
    let method = option::of((text(), option::of(secret())));
    let properties = (numbers, flags, texts, users(), method).prop_map(|(n, f, mut texts, users, method)| {
        let (authentication_method, data) = method.unzip();
        ConnAckProperties {
            session_expiry_interval: n.0,
            receive_maximum: n.1,
            maximum_packet_size: n.2,
            topic_alias_maximum: n.3,
            server_keep_alive: n.4,
            maximum_qos: f
                .0
                .map(|one| if one { QoS::AtLeastOnce } else { QoS::AtMostOnce }),
            retain_available: f.1,
            wildcard_subscription_available: f.2,
            subscription_identifier_available: f.3,
            shared_subscription_available: f.4,
            assigned_client_identifier: texts.pop().flatten(),
            reason_string: texts.pop().flatten(),
            response_information: texts.pop().flatten(),
            server_reference: texts.pop().flatten(),
            user_properties: users,
            authentication_method,
            authentication_data: data.flatten(),
        }
    });
    (
        any::<bool>(),
        reason(PacketType::ConnAck, version, Role::Server),
        in_v5(version, properties),
    )
        .prop_map(|(present, reason, properties)| ConnAck {
            session_present: present && reason == ReasonCode::Success,
            reason,
            properties,
        })
}

pub fn publish(version: Version, sender: Role) -> impl Strategy<Value = Publish> {
    let flags = (any::<bool>(), qos(), any::<bool>(), any::<bool>());
    let payload = vec(any::<u8>(), 0..300).prop_map(Bytes::from);
    (
        flags,
        topic(),
        packet_id(),
        in_v5(version, publish_properties(sender)),
        payload,
    )
        .prop_map(
            |((dup, qos, retain, by_alias), topic, id, properties, payload)| Publish {
                dup: dup && qos != QoS::AtMostOnce,
                qos,
                retain,
                topic: if by_alias && properties.topic_alias.is_some() {
                    Utf8::default()
                } else {
                    topic
                },
                packet_id: (qos != QoS::AtMostOnce).then_some(id),
                properties: boxed(properties),
                payload,
            },
        )
}

fn publish_properties(sender: Role) -> impl Strategy<Value = PublishProperties> {
    let ids = vec(subscription_id(), 0..4);
    let all = (
        option::of(format()),
        maybe(),
        maybe(),
        option::of(topic()),
        option::of(binary()),
        users(),
        ids,
        option::of(text()),
    );
    let all = all.prop_map(move |p| PublishProperties {
        payload_format_indicator: p.0,
        message_expiry_interval: p.1,
        topic_alias: p.2,
        response_topic: p.3,
        correlation_data: p.4,
        user_properties: p.5,
        subscription_identifiers: if sender == Role::Server { p.6 } else { Vec::new() },
        content_type: p.7,
    });
    prop_oneof![Just(PublishProperties::default()), all]
}

fn ack_properties() -> impl Strategy<Value = AckProperties> {
    (option::of(text()), users()).prop_map(|(reason_string, user_properties)| AckProperties {
        reason_string,
        user_properties,
    })
}

fn ack(packet: PacketType, version: Version, sender: Role) -> impl Strategy<Value = Ack> {
    (
        packet_id(),
        reason(packet, version, sender),
        in_v5(version, ack_properties()),
    )
        .prop_map(|(packet_id, reason, properties)| Ack {
            packet_id,
            reason,
            properties: boxed(properties),
        })
}

fn subscription(version: Version) -> impl Strategy<Value = Subscription> {
    let handling = proptest::sample::select(vec![
        RetainHandling::Send,
        RetainHandling::SendIfNew,
        RetainHandling::DoNotSend,
    ]);
    let options = in_v5(version, (any::<bool>(), any::<bool>(), handling));
    (filter(), qos(), options).prop_map(
        |(filter, qos, (no_local, retain_as_published, retain_handling))| {
            let no_local = no_local && !filter.starts_with("$share/");
            Subscription {
                filter,
                qos,
                no_local,
                retain_as_published,
                retain_handling,
            }
        },
    )
}

fn subscribe(version: Version) -> impl Strategy<Value = Subscribe> {
    let properties =
        (option::of(subscription_id()), users()).prop_map(|(id, user_properties)| SubscribeProperties {
            subscription_identifier: id,
            user_properties,
        });
    (
        packet_id(),
        in_v5(version, properties),
        vec(subscription(version), 1..5),
    )
        .prop_map(|(packet_id, properties, subscriptions)| Subscribe {
            packet_id,
            properties,
            subscriptions,
        })
}

fn suback(version: Version) -> impl Strategy<Value = SubAck> {
    let reasons = vec(reason(PacketType::SubAck, version, Role::Server), 1..5);
    (packet_id(), in_v5(version, ack_properties()), reasons).prop_map(|(packet_id, properties, reasons)| {
        SubAck {
            packet_id,
            properties,
            reasons,
        }
    })
}

fn unsubscribe(version: Version) -> impl Strategy<Value = Unsubscribe> {
    let properties = users().prop_map(|user_properties| UnsubscribeProperties { user_properties });
    (packet_id(), in_v5(version, properties), vec(filter(), 1..5)).prop_map(
        |(packet_id, properties, filters)| Unsubscribe {
            packet_id,
            properties,
            filters,
        },
    )
}

fn unsuback(version: Version) -> impl Strategy<Value = UnsubAck> {
    let reasons = in_v5(
        version,
        vec(reason(PacketType::UnsubAck, version, Role::Server), 1..5),
    );
    (packet_id(), in_v5(version, ack_properties()), reasons).prop_map(|(packet_id, properties, reasons)| {
        UnsubAck {
            packet_id,
            properties,
            reasons,
        }
    })
}

fn disconnect(version: Version, sender: Role) -> impl Strategy<Value = Disconnect> {
    let properties = (maybe(), option::of(text()), users(), option::of(text()));
    let properties = properties.prop_map(move |p| DisconnectProperties {
        session_expiry_interval: p.0.filter(|_| sender == Role::Client),
        reason_string: p.1,
        user_properties: p.2,
        server_reference: p.3,
    });
    (
        reason(PacketType::Disconnect, version, sender),
        in_v5(version, properties),
    )
        .prop_map(|(reason, properties)| Disconnect {
            reason,
            properties: boxed(properties),
        })
}

fn auth(sender: Role) -> impl Strategy<Value = Auth> {
    let properties = (text(), option::of(secret()), option::of(text()), users());
    let properties = properties.prop_map(|p| AuthProperties {
        authentication_method: Some(p.0),
        authentication_data: p.1,
        reason_string: p.2,
        user_properties: p.3,
    });
    (reason(PacketType::Auth, Version::V5, sender), properties)
        .prop_map(|(reason, properties)| Auth { reason, properties })
}
