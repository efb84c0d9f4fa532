-- The life of threads: their changes, memberships as stretches of their log, offers, places taken with agents. Positions grow
-- within a partition; 9223372036854775807 is after all of them. A thread that was there before has no change yet (version 0)
-- and is not open; whoever was a member of it still is, and nobody is to be told.

ALTER TABLE threads RENAME TO former_threads;
ALTER TABLE members RENAME TO former_members;

-- `version` and `changed_at` are those of the latest change, `pending` is where somebody first spoke while it is not open.
-- `overridden`: a membership of the agent whose own desk it is has ended, so the desk alone says no more what that agent sees.
CREATE TABLE threads (
  topic      INTEGER PRIMARY KEY,
  org        TEXT NOT NULL,
  partition  INTEGER NOT NULL,
  uid        TEXT NOT NULL,
  kind       TEXT NOT NULL,
  desk       TEXT NOT NULL,
  party      TEXT NOT NULL,
  nickname   TEXT NOT NULL,
  avatar     TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  has_life   INTEGER NOT NULL,
  status     TEXT NOT NULL,
  agent      TEXT,
  version    INTEGER NOT NULL,
  changed_at INTEGER NOT NULL,
  pending    INTEGER NOT NULL,
  overridden INTEGER NOT NULL
);
INSERT INTO threads
  SELECT f.topic, f.org, t.partition, f.uid, f.kind, f.desk, f.party, f.nickname, f.avatar, f.created_at, f.kind <> 'MEMBER',
    f.status, f.agent, 0, f.created_at, 0, 0
  FROM former_threads f JOIN topics t ON t.id = f.topic;

-- Seen is what stands after `since`, up to `until`. `began` is the change that began it, 0 = before there were changes; `owed`
-- the change that its user has not been told of, 0 = none.
CREATE TABLE members (
  topic     INTEGER NOT NULL,
  member    TEXT NOT NULL,
  began     INTEGER NOT NULL,
  org       TEXT NOT NULL,
  partition INTEGER NOT NULL,
  user      TEXT NOT NULL,
  since     INTEGER NOT NULL,
  until     INTEGER NOT NULL,
  owed      INTEGER NOT NULL,
  PRIMARY KEY (topic, member, began)
) WITHOUT ROWID;
INSERT INTO members
  SELECT f.topic, f.member, 0, f.org, t.partition, f.tell, f.since, 9223372036854775807, 0
  FROM former_members f JOIN topics t ON t.id = f.topic;

-- What the next message comes after: changes of threads and notices are in the topic, and nobody is shown them.
ALTER TABLE topics ADD COLUMN prev INTEGER NOT NULL DEFAULT 0;
UPDATE topics SET prev = head;

DROP TABLE former_threads;
DROP TABLE former_members;

CREATE INDEX threads_uid ON threads (org, uid);
CREATE INDEX threads_desk ON threads (org, desk) WHERE overridden = 0;
CREATE INDEX threads_overridden ON threads (org, desk) WHERE overridden = 1 AND status <> 'CLOSED';
CREATE INDEX threads_closed ON threads (org, desk, partition, version) WHERE overridden = 1 AND status = 'CLOSED';
CREATE INDEX threads_party ON threads (org, party);
CREATE INDEX threads_agent ON threads (org, agent) WHERE version > 0 AND status NOT IN ('CLOSED', 'OFFLINE', 'QUEUING');
CREATE INDEX threads_open ON threads (changed_at) WHERE version > 0 AND status <> 'CLOSED';
CREATE INDEX threads_pending ON threads (partition, pending) WHERE pending > 0;
CREATE INDEX threads_waiting ON threads (version) WHERE version > 0 AND status IN ('OFFLINE', 'QUEUING');
CREATE INDEX threads_queue ON threads (org, desk, version) WHERE version > 0 AND status IN ('OFFLINE', 'QUEUING');

-- Those that last are read at each login; those that have ended only from where somebody has got.
CREATE INDEX members_lasting ON members (org, member) WHERE until = 9223372036854775807;
CREATE INDEX members_ended ON members (org, member, partition, until) WHERE until < 9223372036854775807;
CREATE INDEX members_owed ON members (owed) WHERE owed > 0;

-- Offers that are not answered. `receivers`: a uid a line.
CREATE TABLE offers (
  topic      INTEGER NOT NULL,
  uid        TEXT NOT NULL,
  position   INTEGER NOT NULL,
  invitation INTEGER NOT NULL,
  sender     TEXT NOT NULL,
  receivers  TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (topic, uid)
) WITHOUT ROWID;
CREATE INDEX offers_expire ON offers (expires_at);

-- Places with agents that are taken for threads until the log says so. The thread need not be known yet.
CREATE TABLE places (
  org      TEXT NOT NULL,
  topic    TEXT NOT NULL,
  agent    TEXT NOT NULL,
  taken_at INTEGER NOT NULL,
  PRIMARY KEY (org, topic)
) WITHOUT ROWID;
CREATE INDEX places_agent ON places (org, agent);
CREATE INDEX places_taken ON places (taken_at);
