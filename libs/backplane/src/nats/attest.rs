//! Whether what the servers acknowledge would outlive the loss of one of them, as far as can be seen from outside.

use std::collections::BTreeSet;
use std::time::Duration;

use super::api::{ApiError, StreamInfo};
use super::monitor::{Monitor, Varz};
use super::version::Version;
use super::{Nats, NatsConfig};

/// Between two looks at streams that are not up to date.
const AGAIN: Duration = Duration::from_secs(1);

/// The finding of one look at the servers: for a gauge and `/readyz?verbose`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// Whether a message that was acknowledged survives the power failure of one server. `false` also when it cannot be seen.
    pub durable: bool,
    /// Why not, or why it cannot be seen, for an operator; each a sentence. Empty when durable.
    pub reasons: Vec<String>,
    /// What was seen of the servers and streams, for an operator.
    pub seen: Vec<String>,
}

#[derive(Default)]
struct Findings {
    reasons: Vec<String>,
    seen: Vec<String>,
}

impl Nats {
    /// Looks at the versions, `sync_interval`, replicas, size and quorum of the servers. Asks each of `monitor`, and the leaders of
    /// the streams; takes as long as the slowest of them, seconds when one is away. Call it at start and every minute.
    pub async fn attest(&self) -> Attestation {
        let mut findings = Findings::default();
        let servers = futures::future::join_all(self.config().monitor.iter().map(|url| visit(url))).await;
        findings.servers(servers, self.config());
        findings.version("the connected server", &self.client().server_info().version);
        for subject in [
            format!("{}.log.>", self.name()),
            format!("$KV.{}_leases.>", self.name()),
        ] {
            match self.settled(&subject).await {
                Ok(streams) => findings.streams(&subject, &streams, self.config().replicas),
                Err(error) => findings.reason(format!("the streams of {subject} cannot be listed: {error}")),
            }
        }
        Attestation {
            durable: findings.reasons.is_empty(),
            reasons: findings.reasons,
            seen: findings.seen,
        }
    }
}

impl Nats {
    /// Streams, looked at again for a while if a replica is not up to date: after its creation and under load that passes.
    async fn settled(&self, subject: &str) -> Result<Vec<StreamInfo>, ApiError> {
        let mut looks = 3;
        loop {
            let streams = self.streams(subject).await?;
            looks -= 1;
            let current = streams
                .iter()
                .filter_map(|stream| stream.cluster.as_ref())
                .all(|cluster| cluster.replicas.iter().all(|replica| replica.current));
            if current || looks == 0 {
                return Ok(streams);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

async fn visit(url: &str) -> Result<Varz, String> {
    Monitor::parse(url)?.get("/varz").await
}

impl Findings {
    fn reason(&mut self, text: String) {
        if !self.reasons.contains(&text) {
            self.reasons.push(text);
        }
    }

    fn version(&mut self, who: &str, version: &str) {
        match Version::parse(version) {
            Some(known) if known.is_good() => {}
            _ => self.reason(format!(
                "{who} is nats-server {version}, which has lost acknowledged messages; use {} or newer",
                Version::GOOD
            )),
        }
    }

    fn servers(&mut self, servers: Vec<Result<Varz, String>>, config: &NatsConfig) {
        if servers.is_empty() {
            let text =
                "nats.monitor is empty, so nobody can see whether the servers sync what they acknowledge";
            return self.reason(text.to_owned());
        }
        let (mut ids, mut size) = (BTreeSet::new(), 1);
        for server in servers {
            match server {
                Err(reason) => self.reason(reason),
                Ok(varz) => {
                    self.server(&varz);
                    size = size.max(varz.jetstream.meta.unwrap_or_default().cluster_size);
                    ids.insert(varz.server_id);
                }
            }
        }
        if ids.len() < size {
            let text = format!("nats.monitor names {} of {size} servers", ids.len());
            self.reason(text);
        }
        if size < config.replicas.max(3) {
            self.reason(format!(
                "the cluster has {size} servers; one that fails takes the log with it below 3"
            ));
        }
    }

    fn server(&mut self, varz: &Varz) {
        let name = &varz.server_name;
        self.version(name, &varz.version);
        match &varz.jetstream.config {
            None => self.reason(format!("{name} runs without JetStream")),
            Some(config) if !config.sync_always => {
                self.reason(format!(
                    "{name} acknowledges before it syncs: set sync_interval: always"
                ));
            }
            Some(_) => {}
        }
        let sync = varz.jetstream.config.as_ref().is_some_and(|c| c.sync_always);
        self.seen.push(format!(
            "{name}: nats-server {}, sync always: {sync}",
            varz.version
        ));
    }

    fn streams(&mut self, subject: &str, streams: &[StreamInfo], wanted: usize) {
        self.seen.push(format!("{subject}: {} streams", streams.len()));
        for stream in streams {
            let name = stream.name();
            let replicas = stream.config["num_replicas"].as_u64().unwrap_or(0);
            if replicas < 3 || replicas < wanted as u64 {
                self.reason(format!(
                    "the streams of {subject} have {replicas} replicas, less than {}",
                    wanted.max(3)
                ));
            }
            let Some(cluster) = &stream.cluster else { continue };
            if cluster.leader.is_empty() {
                self.reason(format!("stream {name} has no leader"));
            }
            for replica in cluster.replicas.iter().filter(|r| r.offline || !r.current) {
                self.reason(format!("stream {name} is not up to date on {}", replica.name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn varz(id: &str, version: &str, sync: Value, size: usize) -> Result<Varz, String> {
        let text = json!({
            "server_id": id, "server_name": id, "version": version,
            "jetstream": { "config": { "sync_always": sync }, "meta": { "cluster_size": size } },
        });
        serde_json::from_value(text).map_err(|error| error.to_string())
    }

    fn reasons(servers: Vec<Result<Varz, String>>) -> Vec<String> {
        let mut findings = Findings::default();
        findings.servers(servers, &NatsConfig::default());
        findings.reasons
    }

    #[test]
    fn three_servers_that_sync_are_durable() {
        let good = ["a", "b", "c"].map(|id| varz(id, "2.14.5", json!(true), 3));
        assert_eq!(reasons(good.into()), Vec::<String>::new());
    }

    #[test]
    fn what_is_not_durable_or_not_seen_is_said() {
        assert!(reasons(Vec::new())[0].contains("nats.monitor is empty"));
        let lazy = ["a", "b", "c"].map(|id| varz(id, "2.14.5", json!(id != "b"), 3));
        assert_eq!(
            reasons(lazy.into()),
            ["b acknowledges before it syncs: set sync_interval: always"]
        );
        let part = ["a", "a"].map(|id| varz(id, "2.14.5", json!(true), 3));
        assert_eq!(reasons(part.into()), ["nats.monitor names 1 of 3 servers"]);
        let old = ["a", "b", "c"].map(|id| varz(id, "2.12.15", json!(true), 3));
        assert_eq!(reasons(old.into()).len(), 3);
        let alone = reasons(vec![varz("a", "2.14.5", json!(true), 0)]);
        assert!(alone[0].contains("has 1 servers"), "{alone:?}");
        assert_eq!(
            reasons(vec![Err("n1:8222/varz does not answer".into())])[0],
            "n1:8222/varz does not answer"
        );
    }
}
