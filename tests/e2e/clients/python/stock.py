"""paho-mqtt from PyPI, 3.1.1 and 5, TCP and WebSocket: what the specification promises on ordinary topics."""

import os
import sys
import threading
import uuid

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

DEADLINE = 20
V5 = sys.argv[1] == "5"
TRANSPORT = sys.argv[2]
HOST, PORT = os.environ["LW_WS" if TRANSPORT == "websockets" else "LW_MQTT"].split(":")


class Peer:
    """A client, and a condition to wait on for whatever it is told."""

    def __init__(self, client_id=None, clean=True, will=None, keepalive=30):
        self.changed = threading.Condition()
        self.inbox, self.subscribed, self.published, self.connack = [], {}, set(), None
        self.down = False
        arguments = {"client_id": client_id or f"py-{uuid.uuid4().hex}", "transport": TRANSPORT}
        if V5:
            arguments["protocol"] = mqtt.MQTTv5
        else:
            arguments.update(protocol=mqtt.MQTTv311, clean_session=clean)
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, **arguments)
        if TRANSPORT == "websockets":
            self.client.ws_set_options(path="/mqtt")
        if will:
            self.client.will_set("py/will", will, qos=1)
        self.client.on_connect = lambda c, u, flags, code, p: self.note(lambda: setattr(self, "connack", (flags, code)))
        self.client.on_message = lambda c, u, message: self.note(lambda: self.inbox.append(message))
        self.client.on_subscribe = lambda c, u, mid, codes, p: self.note(lambda: self.subscribed.update({mid: codes}))
        self.client.on_publish = lambda c, u, mid, code, p: self.note(lambda: self.published.add(mid))
        self.client.on_disconnect = lambda c, u, flags, code, p: self.note(lambda: setattr(self, "down", True))
        more = {}
        if V5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 0 if clean else 600
            more = {"clean_start": clean, "properties": properties}
        self.client.connect(HOST, int(PORT), keepalive=keepalive, **more)
        self.client.loop_start()
        self.wait("CONNACK", lambda: self.connack)
        assert not self.connack[1].is_failure, self.connack

    def note(self, change):
        with self.changed:
            change()
            self.changed.notify_all()

    def wait(self, what, check):
        with self.changed:
            assert self.changed.wait_for(check, DEADLINE), f"waited {DEADLINE} s in vain for {what}"
            return check()

    def subscribe(self, topic, qos):
        _, mid = self.client.subscribe(topic, qos)
        self.wait("SUBACK", lambda: mid in self.subscribed)
        assert [code.value for code in self.subscribed[mid]] == [qos]

    def publish(self, topic, payload, qos, **more):
        info = self.client.publish(topic, payload, qos, **more)
        self.wait("the end of the exchange", lambda: info.mid in self.published)

    def texts(self, topic):
        return [message.payload.decode() for message in self.inbox if message.topic == topic]

    def leave(self):
        self.client.disconnect()
        self.wait("the end", lambda: self.down)
        self.client.loop_stop()


def main():
    a, b = Peer(), Peer(keepalive=2)
    for qos in (0, 1, 2):
        b.subscribe(f"py/{qos}", qos)
        a.publish(f"py/{qos}", "x" * 100_000, qos)
        b.wait("the message", lambda: b.texts(f"py/{qos}"))
        assert b.texts(f"py/{qos}") == ["x" * 100_000]
        assert [m.qos for m in b.inbox if m.topic == f"py/{qos}"] == [qos]

    b.subscribe("py/many", 2)
    infos = [a.client.publish("py/many", str(i), 2) for i in range(200)]
    a.wait("all exchanges", lambda: all(info.mid in a.published for info in infos))
    b.wait("all messages", lambda: len(b.texts("py/many")) >= 200)
    assert b.texts("py/many") == [str(i) for i in range(200)]

    a.publish("py/retained", "kept", 1, retain=True)
    b.subscribe("py/retained", 1)
    b.wait("the retained message", lambda: b.texts("py/retained"))
    assert [m.retain for m in b.inbox if m.topic == "py/retained"] == [True]

    b.subscribe("py/will", 1)
    Peer(will="polite").leave()
    broken = Peer(will="broken")
    broken.client.loop_stop()
    broken.client.socket().close()
    b.wait("the will", lambda: b.texts("py/will"))
    assert b.texts("py/will") == ["broken"]

    name = f"py-{uuid.uuid4().hex}"
    p = Peer(client_id=name, clean=False)
    assert not p.connack[0].session_present
    p.subscribe("py/away", 1)
    p.leave()
    for i in range(100):
        a.publish("py/away", str(i), 1)
    p = Peer(client_id=name, clean=False)
    assert p.connack[0].session_present
    p.wait("what came meanwhile", lambda: len(p.inbox) >= 100)
    assert p.texts("py/away") == [str(i) for i in range(100)]
    p.leave()
    assert not b.down, "the client with a keep alive of two seconds has been pinging all the while"


main()
