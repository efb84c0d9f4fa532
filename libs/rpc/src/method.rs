use std::fmt;

use prometheus_client::encoding::EncodeLabelValue;

use super::pb::persistence_server::SERVICE_NAME as PERSISTENCE;
use super::pb::receipts_server::SERVICE_NAME as RECEIPTS;
use super::pb::routing_server::SERVICE_NAME as ROUTING;

/// A service that is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Service {
    Persistence,
    Receipts,
    Routing,
}

impl Service {
    /// As the configuration, the logs and the errors have it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Service::Persistence => "persistence",
            Service::Receipts => "receipts",
            Service::Routing => "routing",
        }
    }

    /// As gRPC has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Service::Persistence => PERSISTENCE,
            Service::Receipts => RECEIPTS,
            Service::Routing => ROUTING,
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Whether a call may be made again, when it is not known what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It reads, or doing it twice is the same as doing it once.
    Always,
    /// Only when it surely was not done.
    IfNotDone,
}

/// Every call. docs/adr/0011-grpc.md says why each may be repeated or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Method {
    OpenSession,
    SaveSessions,
    CloseSession,
    Backlog,
    Retained,
    Find,
    UidsSince,
    LastBefore,
    History,
    Membership,
    Desk,
    OpenThread,
    Announced,
    Threads,
    Visitor,
    Explain,
    Memberships,
    Admit,
    ChangeThread,
    Standing,
    Prove,
    Identify,
    AgentsOf,
    ListAgents,
    ListDesks,
    ChangeDirectory,
    Unread,
    Recount,
}

impl Method {
    /// Where it is served.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Method::OpenSession => "/longwire.rpc.v1.Persistence/OpenSession",
            Method::SaveSessions => "/longwire.rpc.v1.Persistence/SaveSessions",
            Method::CloseSession => "/longwire.rpc.v1.Persistence/CloseSession",
            Method::Backlog => "/longwire.rpc.v1.Persistence/Backlog",
            Method::Retained => "/longwire.rpc.v1.Persistence/Retained",
            Method::Find => "/longwire.rpc.v1.Persistence/Find",
            Method::UidsSince => "/longwire.rpc.v1.Persistence/UidsSince",
            Method::LastBefore => "/longwire.rpc.v1.Persistence/LastBefore",
            Method::History => "/longwire.rpc.v1.Persistence/History",
            Method::Membership => "/longwire.rpc.v1.Persistence/Membership",
            Method::Desk => "/longwire.rpc.v1.Persistence/Desk",
            Method::OpenThread => "/longwire.rpc.v1.Persistence/OpenThread",
            Method::Announced => "/longwire.rpc.v1.Persistence/Announced",
            Method::Threads => "/longwire.rpc.v1.Persistence/Threads",
            Method::Visitor => "/longwire.rpc.v1.Persistence/Visitor",
            Method::Explain => "/longwire.rpc.v1.Persistence/Explain",
            Method::Memberships => "/longwire.rpc.v1.Persistence/Memberships",
            Method::Admit => "/longwire.rpc.v1.Persistence/Admit",
            Method::ChangeThread => "/longwire.rpc.v1.Persistence/ChangeThread",
            Method::Standing => "/longwire.rpc.v1.Persistence/Standing",
            Method::Prove => "/longwire.rpc.v1.Persistence/Prove",
            Method::Identify => "/longwire.rpc.v1.Directory/Identify",
            Method::AgentsOf => "/longwire.rpc.v1.Directory/AgentsOf",
            Method::ListAgents => "/longwire.rpc.v1.Directory/ListAgents",
            Method::ListDesks => "/longwire.rpc.v1.Directory/ListDesks",
            Method::ChangeDirectory => "/longwire.rpc.v1.Directory/ChangeDirectory",
            Method::Unread => "/longwire.rpc.v1.Receipts/Unread",
            Method::Recount => "/longwire.rpc.v1.Receipts/Recount",
        }
    }

    /// Whether it may be repeated, whatever its argument.
    pub(crate) fn repeat(self) -> Repeat {
        match self {
            // The second opening would take the first one for a connection that was there before: present though nothing
            // is stored, its will published, and the edge that had the session forgotten.
            Method::OpenSession
            // What was removed cannot be removed again, and what somebody else changed in between would be changed back.
            | Method::ChangeDirectory
            // Without a uid each makes a new visitor.
            | Method::OpenThread
            | Method::Visitor => Repeat::IfNotDone,
            _ => Repeat::Always,
        }
    }
}
