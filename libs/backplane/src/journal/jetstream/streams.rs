//! The streams of a log: how they are made, and whether those that are there are ours.
//!
//! All of a log's streams carry its epoch, its number of partitions and its format in their metadata, and the epoch in their subject. The
//! stream of the last partition is made first and decides on the epoch when several processes start at once; that of
//! partition 0 is made last. So where partition 0 is, the log was complete once, and what is missing then was lost.

use model::PartitionId;
use serde_json::{Value, json};

use crate::nats::api::{StreamInfo, code};
use crate::nats::{Nats, NatsError};

const EPOCH: &str = "longwire_epoch";
const PARTITIONS: &str = "longwire_partitions";
const FORMAT: &str = "longwire_format";
/// What the log holds. Before 2 (where the streams do not say) every edge appended, and the frames were judged afterwards; from 2
/// on they hold accepted entries only; from 3 on all colleague threads of an organisation are in one partition.
const CURRENT: &str = "3";

/// Duplicates are recognised for so long. A writer gives up long before.
const DUPLICATE_WINDOW_SECS: u64 = 600;

/// The names of one log's streams and subjects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    prefix: String,
    pub(super) partitions: u16,
    pub(super) epoch: u64,
}

impl Names {
    pub(super) fn stream(&self, partition: PartitionId) -> String {
        stream(&self.prefix, partition.0)
    }

    /// A log that was created anew has other subjects, so that who knows the old one can neither append to the new nor take
    /// a frame of it for one of the old.
    pub(super) fn subject(&self, partition: PartitionId) -> String {
        subject(&self.prefix, partition.0, self.epoch)
    }

    /// The subjects of all.
    pub(super) fn subjects(&self) -> String {
        format!("{}.log.>", self.prefix)
    }

    /// Whether a stream is one of this log.
    pub(super) fn owns(&self, info: &StreamInfo) -> bool {
        epoch_of(info) == Some(self.epoch)
    }
}

fn stream(prefix: &str, partition: u16) -> String {
    format!("{prefix}_log_{partition}")
}

fn subject(prefix: &str, partition: u16, epoch: u64) -> String {
    format!("{prefix}.log.{partition}.{epoch:x}")
}

fn epoch_of(info: &StreamInfo) -> Option<u64> {
    u64::from_str_radix(info.metadata(EPOCH)?, 16).ok()
}

/// Finds the log, or creates it. Gives the last frame of each partition with its names.
pub(super) async fn open(nats: &Nats, partitions: u16) -> Result<(Names, Vec<u64>), NatsError> {
    let opening = Opening { nats, partitions };
    match opening.find(0).await? {
        Some(first) => opening.complete(&first).await,
        None => opening.create().await,
    }
}

struct Opening<'a> {
    nats: &'a Nats,
    partitions: u16,
}

impl Opening<'_> {
    async fn find(&self, partition: u16) -> Result<Option<StreamInfo>, NatsError> {
        let name = stream(self.nats.name(), partition);
        match self.nats.stream_info(&name).await {
            Ok(info) => Ok(Some(info)),
            Err(error) if error.is(code::STREAM_NOT_FOUND) => Ok(None),
            Err(error) => Err(NatsError::refused(format!("looking up stream {name}"), &error)),
        }
    }

    /// The log is there: every stream must be, and be of it.
    async fn complete(&self, first: &StreamInfo) -> Result<(Names, Vec<u64>), NatsError> {
        let names = self.names(first)?;
        let mut heads = Vec::new();
        for partition in 0..self.partitions {
            let Some(info) = self.find(partition).await? else {
                return Err(NatsError::Damaged {
                    stream: stream(self.nats.name(), partition),
                    what:
                        "is gone, and with it what the log held of its partition: restore it, or delete the \
                           other streams of the log too, to begin a new one"
                            .to_owned(),
                });
            };
            self.check(&info, &names, partition)?;
            heads.push(info.state.last_seq);
        }
        Ok((names, heads))
    }

    /// No stream of partition 0: create what is missing, unless there was a log already.
    async fn create(&self) -> Result<(Names, Vec<u64>), NatsError> {
        let mut epoch = rand::random::<u64>().max(1);
        let (mut names, mut heads) = (None, Vec::new());
        for partition in (0..self.partitions).rev() {
            let config = self.config(partition, epoch);
            let what = format!("creating stream {}", config["name"]);
            let info = self
                .nats
                .stream(&config)
                .await
                .map_err(|error| NatsError::refused(what, &error))?;
            if names.is_none() {
                let found = self.names(&info)?;
                epoch = found.epoch;
                names = Some(found);
            }
            let names = names.as_ref().expect("set above");
            self.check(&info, names, partition)?;
            if info.state.last_seq > 0 {
                // There is a log. Either somebody has just finished it, or its partition 0 was lost.
                return match self.find(0).await? {
                    Some(first) => Box::pin(self.complete(&first)).await,
                    None => Err(NatsError::Damaged {
                        stream: stream(self.nats.name(), 0),
                        what: "is gone, but others of the log are there: restore it, or delete them too"
                            .to_owned(),
                    }),
                };
            }
            heads.push(info.state.last_seq);
        }
        let names = names.expect("a log has a partition");
        tracing::info!(
            epoch = names.epoch,
            partitions = self.partitions,
            "the log is ready"
        );
        Ok((names, heads))
    }

    /// What the metadata of a stream says of its log.
    fn names(&self, info: &StreamInfo) -> Result<Names, NatsError> {
        let partitions = info.metadata(PARTITIONS).and_then(|n| n.parse().ok());
        let (Some(epoch), Some(partitions)) = (epoch_of(info), partitions) else {
            return Err(NatsError::Damaged {
                stream: info.name().to_owned(),
                what: "was not made for a log (no epoch in its metadata): choose another cluster.name"
                    .to_owned(),
            });
        };
        if info.metadata(FORMAT) != Some(CURRENT) {
            return Err(NatsError::Damaged {
                stream: info.name().to_owned(),
                what: format!(
                    "is of a log in format {}, and this version of Longwire reads format {CURRENT} alone; there is no conversion: \
                     delete the streams {prefix}_log_* and the database that was filled from them, or choose another cluster.name",
                    info.metadata(FORMAT).unwrap_or("1"),
                    prefix = self.nats.name(),
                ),
            });
        }
        if partitions != self.partitions {
            return Err(NatsError::Partitions {
                found: partitions,
                wanted: self.partitions,
            });
        }
        Ok(Names {
            prefix: self.nats.name().to_owned(),
            partitions,
            epoch,
        })
    }

    /// Whether a stream belongs to the log and keeps what it must. Retention and replicas are the operator's to change.
    fn check(&self, info: &StreamInfo, names: &Names, partition: u16) -> Result<(), NatsError> {
        let damaged = |what: String| NatsError::Damaged {
            stream: info.name().to_owned(),
            what,
        };
        if self.names(info)? != *names {
            return Err(damaged(
                "is of another log than the stream of partition 0: it was created anew".to_owned(),
            ));
        }
        let config = self.config(partition, names.epoch);
        for key in [
            "subjects",
            "retention",
            "storage",
            "discard",
            "max_msgs_per_subject",
        ] {
            if info.config[key] != config[key] {
                return Err(damaged(format!(
                    "has {key} {}, not {}",
                    info.config[key], config[key]
                )));
            }
        }
        if info.config["duplicate_window"].as_u64() < Some(120_000_000_000) {
            return Err(damaged(
                "recognises duplicates for less than two minutes".to_owned(),
            ));
        }
        for key in ["num_replicas", "max_age", "max_bytes", "allow_direct"] {
            if !config[key].is_boolean() && info.config[key] != config[key] {
                tracing::warn!(stream = info.name(), key, found = %info.config[key], configured = %config[key],
                    "a stream differs from the configuration; it is not changed by us");
            }
        }
        Ok(())
    }

    fn config(&self, partition: u16, epoch: u64) -> Value {
        let settings = self.nats.config();
        let age = u64::try_from(settings.retention.get().as_nanos()).unwrap_or(0);
        let bytes = i64::try_from(settings.max_partition_size.get()).unwrap_or(0);
        json!({
            "name": stream(self.nats.name(), partition),
            "subjects": [subject(self.nats.name(), partition, epoch)],
            "retention": "limits",
            "storage": "file",
            "discard": "new",
            "num_replicas": settings.replicas,
            "max_age": age,
            "max_bytes": if bytes == 0 { -1 } else { bytes },
            "max_msgs": -1,
            "max_msgs_per_subject": -1,
            "max_msg_size": -1,
            "max_consumers": -1,
            "duplicate_window": (DUPLICATE_WINDOW_SECS * 1_000_000_000).min(age),
            "deny_delete": true,
            "deny_purge": true,
            "allow_direct": false,
            "metadata": { EPOCH: format!("{epoch:x}"), PARTITIONS: self.partitions.to_string(), FORMAT: CURRENT },
        })
    }
}
