-- The store of an embedded installation: what persistence and receipts made of the journal, and what does not come from it.
-- Positions, hashes and times are 64-bit integers; times in milliseconds since 1970.

CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) WITHOUT ROWID;
-- Messages up to this id are in topic_index, uid_index and the sums of topics; newer ones are indexed in memory and found
-- again by reading the tail of messages.
INSERT INTO meta VALUES ('indexed', 0);

-- The log that the store is filled from: positions mean nothing in another one.
CREATE TABLE log_identity (
  one        INTEGER PRIMARY KEY CHECK (one = 1),
  epoch      INTEGER NOT NULL,
  partitions INTEGER NOT NULL
);

-- How far each service (1 persistence, 2 receipts) has applied each partition; always written with the rows.
CREATE TABLE progress (
  service   INTEGER NOT NULL,
  partition INTEGER NOT NULL,
  position  INTEGER NOT NULL,
  PRIMARY KEY (service, partition)
) WITHOUT ROWID;

CREATE TABLE topics (
  id            INTEGER PRIMARY KEY,
  org           TEXT NOT NULL,
  topic         TEXT NOT NULL,
  partition     INTEGER NOT NULL,
  head          INTEGER NOT NULL DEFAULT 0,
  shown         INTEGER NOT NULL DEFAULT 0,
  last          INTEGER NOT NULL DEFAULT 0,
  updated_at    INTEGER NOT NULL DEFAULT 0,
  waiting_since INTEGER NOT NULL DEFAULT 0,
  receipt_head  INTEGER NOT NULL DEFAULT 0,
  UNIQUE (org, topic)
);

-- Appended in the order of the log; the entry is the log's own bytes.
CREATE TABLE messages (
  id         INTEGER PRIMARY KEY,
  topic      INTEGER NOT NULL,
  position   INTEGER NOT NULL,
  prev       INTEGER NOT NULL,
  flags      INTEGER NOT NULL,
  uid        INTEGER,
  expires_at INTEGER,
  generic_at INTEGER,
  entry      BLOB NOT NULL
);
CREATE INDEX messages_generic ON messages (generic_at) WHERE generic_at IS NOT NULL;

CREATE TABLE topic_index (
  topic    INTEGER NOT NULL,
  position INTEGER NOT NULL,
  message  INTEGER NOT NULL,
  flags    INTEGER NOT NULL,
  PRIMARY KEY (topic, position)
) WITHOUT ROWID;

CREATE TABLE uid_index (
  uid     INTEGER NOT NULL,
  message INTEGER NOT NULL,
  PRIMARY KEY (uid, message)
) WITHOUT ROWID;

-- Streamed answers put together, by the message of their first part.
CREATE TABLE streams (
  message INTEGER PRIMARY KEY,
  entry   BLOB NOT NULL
);

CREATE TABLE retained (
  topic      INTEGER PRIMARY KEY,
  position   INTEGER NOT NULL,
  expires_at INTEGER,
  entry      BLOB NOT NULL
);

-- `began` is the epoch at which the state began.
CREATE TABLE sessions (
  org        TEXT NOT NULL,
  user       TEXT NOT NULL,
  client     TEXT NOT NULL,
  epoch      INTEGER NOT NULL,
  began      INTEGER NOT NULL,
  edge       TEXT NOT NULL,
  connected  INTEGER NOT NULL,
  expiry     INTEGER NOT NULL,
  expires_at INTEGER,
  will_delay INTEGER,
  will       BLOB,
  state      BLOB NOT NULL,
  PRIMARY KEY (org, user, client)
);
CREATE INDEX sessions_expiry ON sessions (expires_at) WHERE expires_at IS NOT NULL;

-- Wills on their way into the journal.
CREATE TABLE wills (
  id     INTEGER PRIMARY KEY AUTOINCREMENT,
  org    TEXT NOT NULL,
  user   TEXT NOT NULL,
  client TEXT NOT NULL,
  due_at INTEGER NOT NULL,
  entry  BLOB NOT NULL
);
CREATE INDEX wills_due ON wills (due_at);
CREATE INDEX wills_session ON wills (org, user, client);

CREATE TABLE threads (
  topic      INTEGER PRIMARY KEY,
  org        TEXT NOT NULL,
  uid        TEXT NOT NULL,
  kind       TEXT NOT NULL,
  status     TEXT NOT NULL,
  desk       TEXT NOT NULL,
  party      TEXT NOT NULL,
  nickname   TEXT NOT NULL,
  avatar     TEXT NOT NULL,
  agent      TEXT,
  created_at INTEGER NOT NULL,
  version    INTEGER NOT NULL DEFAULT 1
);
CREATE INDEX threads_desk ON threads (org, desk);
CREATE INDEX threads_party ON threads (org, party);
CREATE INDEX threads_agent ON threads (org, agent) WHERE agent IS NOT NULL;

CREATE TABLE members (
  org       TEXT NOT NULL,
  member    TEXT NOT NULL,
  topic     INTEGER NOT NULL,
  since     INTEGER NOT NULL,
  tell      TEXT NOT NULL,
  announced INTEGER NOT NULL,
  PRIMARY KEY (org, member, topic)
) WITHOUT ROWID;
CREATE INDEX members_topic ON members (topic);

CREATE TABLE visitors (
  org      TEXT NOT NULL,
  uid      TEXT NOT NULL,
  nickname TEXT NOT NULL,
  avatar   TEXT NOT NULL,
  PRIMARY KEY (org, uid)
) WITHOUT ROWID;

-- The furthest state of each message, with the log entry that brought it there.
CREATE TABLE receipts (
  topic    INTEGER NOT NULL,
  message  INTEGER NOT NULL,
  state    INTEGER NOT NULL,
  changed  INTEGER NOT NULL,
  entry    BLOB NOT NULL,
  PRIMARY KEY (topic, message)
) WITHOUT ROWID;
CREATE INDEX receipts_changed ON receipts (topic, changed);

-- Everything by others up to here has reached the user.
CREATE TABLE marks (
  topic   INTEGER NOT NULL,
  user    TEXT NOT NULL,
  upto    INTEGER NOT NULL,
  changed INTEGER NOT NULL,
  entry   BLOB NOT NULL,
  PRIMARY KEY (topic, user)
) WITHOUT ROWID;

-- What a user has read; every countable message of others up to the floor is in reads, so counting begins there.
CREATE TABLE reads (
  topic    INTEGER NOT NULL,
  user     TEXT NOT NULL,
  message  INTEGER NOT NULL,
  PRIMARY KEY (topic, user, message)
) WITHOUT ROWID;
CREATE TABLE floors (
  topic INTEGER NOT NULL,
  user  TEXT NOT NULL,
  floor INTEGER NOT NULL,
  PRIMARY KEY (topic, user)
) WITHOUT ROWID;
