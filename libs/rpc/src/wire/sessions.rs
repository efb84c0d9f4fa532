use super::{Malformed, Wire, given, read};
use crate::pb;
use contract::persistence::{CloseSession, OpenSession, OpenedSession, SaveSession, SessionKey, Will};

const KEY: &str = "whose session it is";

impl Wire for SessionKey {
    type Message = pb::SessionKey;

    fn to_wire(self) -> pb::SessionKey {
        pb::SessionKey {
            org: self.org.to_wire(),
            user: self.user.to_wire(),
            client: self.client.to_wire(),
        }
    }

    fn from_wire(m: pb::SessionKey) -> Result<Self, Malformed> {
        Ok(Self {
            org: read(m.org)?,
            user: read(m.user)?,
            client: read(m.client)?,
        })
    }
}

impl Wire for Will {
    type Message = pb::Will;

    fn to_wire(self) -> pb::Will {
        pb::Will {
            entry: self.entry,
            delay: self.delay,
        }
    }

    fn from_wire(m: pb::Will) -> Result<Self, Malformed> {
        Ok(Self {
            entry: m.entry,
            delay: m.delay,
        })
    }
}

impl Wire for OpenSession {
    type Message = pb::OpenSessionRequest;

    fn to_wire(self) -> pb::OpenSessionRequest {
        pb::OpenSessionRequest {
            key: Some(self.key.to_wire()),
            clean_start: self.clean_start,
            expiry: self.expiry,
            will: self.will.to_wire(),
            edge: self.edge.to_wire(),
            identities: self.identities.to_wire(),
        }
    }

    fn from_wire(m: pb::OpenSessionRequest) -> Result<Self, Malformed> {
        Ok(Self {
            key: given(KEY, m.key)?,
            clean_start: m.clean_start,
            expiry: m.expiry,
            will: read(m.will)?,
            edge: read(m.edge)?,
            identities: read(m.identities)?,
        })
    }
}

impl Wire for OpenedSession {
    type Message = pb::OpenedSession;

    fn to_wire(self) -> pb::OpenedSession {
        pb::OpenedSession {
            epoch: self.epoch,
            present: self.present,
            state: self.state,
            previous_edge: self.previous_edge.to_wire(),
            threads: self.threads.to_wire(),
        }
    }

    fn from_wire(m: pb::OpenedSession) -> Result<Self, Malformed> {
        Ok(Self {
            epoch: m.epoch,
            present: m.present,
            state: m.state,
            previous_edge: read(m.previous_edge)?,
            threads: read(m.threads)?,
        })
    }
}

impl Wire for SaveSession {
    type Message = pb::SaveSession;

    fn to_wire(self) -> pb::SaveSession {
        pb::SaveSession {
            key: Some(self.key.to_wire()),
            epoch: self.epoch,
            state: self.state,
        }
    }

    fn from_wire(m: pb::SaveSession) -> Result<Self, Malformed> {
        Ok(Self {
            key: given(KEY, m.key)?,
            epoch: m.epoch,
            state: m.state,
        })
    }
}

impl Wire for CloseSession {
    type Message = pb::CloseSessionRequest;

    fn to_wire(self) -> pb::CloseSessionRequest {
        pb::CloseSessionRequest {
            key: Some(self.key.to_wire()),
            epoch: self.epoch,
            state: self.state,
            expiry: self.expiry,
            at: self.at.to_wire(),
            publish_will: self.publish_will,
        }
    }

    fn from_wire(m: pb::CloseSessionRequest) -> Result<Self, Malformed> {
        Ok(Self {
            key: given(KEY, m.key)?,
            epoch: m.epoch,
            state: m.state,
            expiry: m.expiry,
            at: read(m.at)?,
            publish_will: m.publish_will,
        })
    }
}
