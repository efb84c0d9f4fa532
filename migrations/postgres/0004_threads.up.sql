-- The life of threads: their changes, memberships as stretches of their log, offers, places taken with agents. Positions grow
-- within a partition; 9223372036854775807 is after all of them. A thread that was there before has no change yet (version 0)
-- and is not open; whoever was a member of it still is, and nobody is to be told.

-- `version` and `changed_at` are those of the latest change, `pending` is where somebody first spoke while it is not open.
-- `overridden`: a membership of the agent whose own desk it is has ended, so the desk alone says no more what that agent sees.
ALTER TABLE threads
  ADD partition  bigint NOT NULL DEFAULT 0,
  ADD has_life   boolean NOT NULL DEFAULT true,
  ADD changed_at bigint NOT NULL DEFAULT 0,
  ADD pending    bigint NOT NULL DEFAULT 0,
  ADD overridden boolean NOT NULL DEFAULT false;
UPDATE threads h SET partition = t.partition, has_life = h.kind <> 'MEMBER', changed_at = h.created_at, version = 0
  FROM topics t WHERE t.id = h.topic;
ALTER TABLE threads
  ALTER partition  DROP DEFAULT,
  ALTER has_life   DROP DEFAULT,
  ALTER changed_at DROP DEFAULT,
  ALTER pending    DROP DEFAULT,
  ALTER overridden DROP DEFAULT,
  ALTER version    DROP DEFAULT;

DROP INDEX threads_desk, threads_agent;
CREATE INDEX threads_uid ON threads (org, uid);
CREATE INDEX threads_desk ON threads (org, desk) WHERE NOT overridden;
CREATE INDEX threads_overridden ON threads (org, desk) WHERE overridden AND status <> 'CLOSED';
CREATE INDEX threads_closed ON threads (org, desk, partition, version) WHERE overridden AND status = 'CLOSED';
CREATE INDEX threads_agent ON threads (org, agent) WHERE version > 0 AND status NOT IN ('CLOSED', 'OFFLINE', 'QUEUING');
CREATE INDEX threads_open ON threads (changed_at) WHERE version > 0 AND status <> 'CLOSED';
CREATE INDEX threads_pending ON threads (partition, pending) WHERE pending > 0;
CREATE INDEX threads_waiting ON threads (version) WHERE version > 0 AND status IN ('OFFLINE', 'QUEUING');
CREATE INDEX threads_queue ON threads (org, desk, version) WHERE version > 0 AND status IN ('OFFLINE', 'QUEUING');

-- Seen is what stands after `since`, up to `until`. `began` is the change that began it, 0 = before there were changes; `owed`
-- the change that its user has not been told of, 0 = none.
ALTER TABLE members DROP CONSTRAINT members_pkey;
ALTER TABLE members RENAME tell TO usr;
ALTER TABLE members
  DROP announced,
  ADD began     bigint NOT NULL DEFAULT 0,
  ADD partition bigint NOT NULL DEFAULT 0,
  ADD until     bigint NOT NULL DEFAULT 9223372036854775807,
  ADD owed      bigint NOT NULL DEFAULT 0;
UPDATE members m SET partition = t.partition FROM topics t WHERE t.id = m.topic;
ALTER TABLE members
  ALTER began     DROP DEFAULT,
  ALTER partition DROP DEFAULT,
  ALTER until     DROP DEFAULT,
  ALTER owed      DROP DEFAULT,
  ADD PRIMARY KEY (topic, member, began);
DROP INDEX members_topic;

-- Those that last are read at each login; those that have ended only from where somebody has got.
CREATE INDEX members_lasting ON members (org, member) WHERE until = 9223372036854775807;
CREATE INDEX members_ended ON members (org, member, partition, until) WHERE until < 9223372036854775807;
CREATE INDEX members_owed ON members (owed) WHERE owed > 0;

-- What the next message comes after: changes of threads and notices are in the topic, and nobody is shown them.
ALTER TABLE heads ADD prev bigint NOT NULL DEFAULT 0;
UPDATE heads SET prev = head;
ALTER TABLE heads ALTER prev DROP DEFAULT;

-- Offers that are not answered.
CREATE TABLE offers (
  topic      bigint NOT NULL REFERENCES topics (id),
  uid        text COLLATE "C" NOT NULL,
  position   bigint NOT NULL,
  invitation boolean NOT NULL,
  sender     text NOT NULL,
  receivers  text[] NOT NULL,
  expires_at bigint NOT NULL,
  PRIMARY KEY (topic, uid)
);
CREATE INDEX offers_expire ON offers (expires_at);

-- Places with agents that are taken for threads until the log says so. The thread need not be known yet.
CREATE TABLE places (
  org      text COLLATE "C" NOT NULL,
  topic    text COLLATE "C" NOT NULL,
  agent    text COLLATE "C" NOT NULL,
  taken_at bigint NOT NULL,
  PRIMARY KEY (org, topic)
);
CREATE INDEX places_agent ON places (org, agent);
CREATE INDEX places_taken ON places (taken_at);
