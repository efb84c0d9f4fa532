-- The store of a cluster: what persistence and receipts made of the journal, and what does not come from it.
-- Positions, hashes and times are 64-bit integers; times in milliseconds since 1970. Names compare byte by byte.

-- The log that the store is filled from: positions mean nothing in another one.
CREATE TABLE log_identity (
  one        boolean PRIMARY KEY DEFAULT true CHECK (one),
  epoch      bigint NOT NULL,
  partitions bigint NOT NULL
);

-- How far each service (1 persistence, 2 receipts) has applied each partition; always written with the rows.
CREATE TABLE progress (
  service   bigint NOT NULL,
  partition bigint NOT NULL,
  position  bigint NOT NULL,
  came_from bigint NOT NULL,
  PRIMARY KEY (service, partition)
) WITH (fillfactor = 50);

-- One row, rewritten to make everything committed before it durable.
CREATE TABLE synced (
  one   boolean PRIMARY KEY DEFAULT true CHECK (one),
  times bigint NOT NULL
);
INSERT INTO synced (times) VALUES (0);

-- Every topic but for its last level: what `a/b/+` means is one branch.
CREATE TABLE branches (
  id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  org  text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  UNIQUE (org, name)
);

CREATE TABLE topics (
  id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  org       text COLLATE "C" NOT NULL,
  topic     text COLLATE "C" NOT NULL,
  branch    bigint NOT NULL REFERENCES branches (id),
  partition bigint NOT NULL,
  UNIQUE (org, topic)
);

-- What follows from a topic's messages. Written by persistence alone; the index finds the topics with news.
CREATE TABLE heads (
  topic         bigint PRIMARY KEY REFERENCES topics (id),
  branch        bigint NOT NULL,
  partition     bigint NOT NULL,
  head          bigint NOT NULL,
  first_at      bigint NOT NULL,
  shown         bigint NOT NULL,
  last          bigint NOT NULL,
  updated_at    bigint NOT NULL,
  waiting_since bigint NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX heads_news ON heads (branch, partition, head);

-- The same of a topic's receipts. Written by receipts alone.
CREATE TABLE receipt_heads (
  topic     bigint PRIMARY KEY REFERENCES topics (id),
  branch    bigint NOT NULL,
  partition bigint NOT NULL,
  head      bigint NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX receipt_heads_news ON receipt_heads (branch, partition, head);

-- The log's own bytes, by month of acceptance: an old month goes by dropping its table. sender and author are hashes.
CREATE TABLE messages (
  topic       bigint NOT NULL,
  position    bigint NOT NULL,
  accepted_at bigint NOT NULL,
  prev        bigint NOT NULL,
  expires_at  bigint,
  sender      bigint NOT NULL,
  author      bigint NOT NULL,
  flags       bigint NOT NULL,
  entry       bytea NOT NULL,
  PRIMARY KEY (topic, position, accepted_at)
) PARTITION BY RANGE (accepted_at);
CREATE INDEX messages_generic ON messages (accepted_at) WHERE flags & 16 <> 0;
CREATE TABLE messages_other PARTITION OF messages DEFAULT;

-- Where each uid stands. `uid` hashes tenant and uid; later parts of a streamed answer and edits stand under a hash of
-- their own. `key_high` and `key_low` hash tenant, topic and uid, and are null for those. Nothing is unique here: a uid that
-- the log has twice is stored twice.
CREATE TABLE uids (
  uid         bigint NOT NULL,
  topic       bigint NOT NULL,
  position    bigint NOT NULL,
  partition   bigint NOT NULL,
  accepted_at bigint NOT NULL,
  key_high    bigint,
  key_low     bigint
);
CREATE INDEX uids_places ON uids (uid, topic, position);
-- The messages of a partition in the order of the log.
CREATE INDEX uids_log ON uids (partition, position) WHERE key_high IS NOT NULL;
CREATE INDEX uids_old ON uids USING brin (accepted_at);

-- Streamed answers put together, by their first part.
CREATE TABLE streams (
  topic    bigint NOT NULL,
  position bigint NOT NULL,
  entry    bytea NOT NULL,
  PRIMARY KEY (topic, position)
);

CREATE TABLE retained (
  topic      bigint PRIMARY KEY REFERENCES topics (id),
  branch     bigint NOT NULL,
  position   bigint NOT NULL,
  expires_at bigint,
  entry      bytea NOT NULL
);
CREATE INDEX retained_branch ON retained (branch);

-- `began` is the epoch at which the state began, `opened` when the last connection was made, `present` whether it found the
-- session, `previous` the edge that held it then and had not closed it, `replaced_will` what that connection left to be
-- published.
CREATE TABLE sessions (
  org           text COLLATE "C" NOT NULL,
  usr           text COLLATE "C" NOT NULL,
  client        text COLLATE "C" NOT NULL,
  epoch         bigint NOT NULL,
  began         bigint NOT NULL,
  edge          text COLLATE "C" NOT NULL,
  connected     boolean NOT NULL,
  opened        bigint NOT NULL,
  present       boolean NOT NULL,
  previous      text COLLATE "C",
  expiry        bigint NOT NULL,
  expires_at    bigint,
  will_delay    bigint,
  will          bytea,
  replaced_will bytea,
  state         bytea NOT NULL,
  PRIMARY KEY (org, usr, client)
) WITH (fillfactor = 70);
CREATE INDEX sessions_expiry ON sessions (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX sessions_edge ON sessions (edge) WHERE connected;

-- Wills on their way into the journal. `epoch` is the connection's; one that waits is of no use once the session went on.
CREATE TABLE wills (
  id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  org    text COLLATE "C" NOT NULL,
  usr    text COLLATE "C" NOT NULL,
  client text COLLATE "C" NOT NULL,
  epoch  bigint NOT NULL,
  waits  boolean NOT NULL,
  due_at bigint NOT NULL,
  entry  bytea NOT NULL
);
CREATE INDEX wills_due ON wills (due_at);
CREATE INDEX wills_session ON wills (org, usr, client);

CREATE TABLE threads (
  topic      bigint PRIMARY KEY REFERENCES topics (id),
  org        text COLLATE "C" NOT NULL,
  uid        text NOT NULL,
  kind       text NOT NULL,
  status     text NOT NULL,
  desk       text COLLATE "C" NOT NULL,
  party      text COLLATE "C" NOT NULL,
  nickname   text NOT NULL,
  avatar     text NOT NULL,
  agent      text COLLATE "C",
  created_at bigint NOT NULL,
  version    bigint NOT NULL DEFAULT 1
);
CREATE INDEX threads_desk ON threads (org, desk);
CREATE INDEX threads_party ON threads (org, party);
CREATE INDEX threads_agent ON threads (org, agent) WHERE agent IS NOT NULL;

CREATE TABLE members (
  org       text COLLATE "C" NOT NULL,
  member    text COLLATE "C" NOT NULL,
  topic     bigint NOT NULL REFERENCES topics (id),
  since     bigint NOT NULL,
  tell      text COLLATE "C" NOT NULL,
  announced boolean NOT NULL,
  PRIMARY KEY (org, member, topic)
);
CREATE INDEX members_topic ON members (topic);

CREATE TABLE visitors (
  org      text COLLATE "C" NOT NULL,
  uid      text COLLATE "C" NOT NULL,
  nickname text NOT NULL,
  avatar   text NOT NULL,
  PRIMARY KEY (org, uid)
);

-- The furthest state of each message, with the log entry that brought it there.
CREATE TABLE receipts (
  topic   bigint NOT NULL,
  message bigint NOT NULL,
  state   bigint NOT NULL,
  changed bigint NOT NULL,
  entry   bytea NOT NULL,
  PRIMARY KEY (topic, message)
);
CREATE INDEX receipts_changed ON receipts (topic, changed);

-- Everything by others up to here has reached the user.
CREATE TABLE marks (
  topic   bigint NOT NULL,
  usr     text COLLATE "C" NOT NULL,
  upto    bigint NOT NULL,
  changed bigint NOT NULL,
  entry   bytea NOT NULL,
  PRIMARY KEY (topic, usr)
) WITH (fillfactor = 70);
CREATE INDEX marks_changed ON marks (topic, changed);

-- What a user has read; every countable message of others up to the floor is in reads, so counting begins there.
CREATE TABLE reads (
  topic   bigint NOT NULL,
  usr     text COLLATE "C" NOT NULL,
  message bigint NOT NULL,
  PRIMARY KEY (topic, usr, message)
);
CREATE TABLE floors (
  topic bigint NOT NULL,
  usr   text COLLATE "C" NOT NULL,
  floor bigint NOT NULL,
  PRIMARY KEY (topic, usr)
) WITH (fillfactor = 70);

-- Makes the tables of this month and the two after it. Several may call it at once. A month whose rows are in
-- messages_other already (a clock was wrong) stays there.
CREATE FUNCTION messages_make_months() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  month timestamp := date_trunc('month', now() AT TIME ZONE 'UTC');
  name  text;
  low   bigint;
  high  bigint;
BEGIN
  FOR i IN 0..2 LOOP
    name := 'messages_' || to_char(month, 'YYYY_MM');
    IF to_regclass(name) IS NULL THEN
      PERFORM pg_advisory_xact_lock(hashtextextended('longwire.messages_make_months', 0));
    END IF;
    IF to_regclass(name) IS NULL THEN
      low := extract(epoch FROM month)::bigint * 1000;
      high := extract(epoch FROM month + interval '1 month')::bigint * 1000;
      BEGIN
        EXECUTE format('CREATE TABLE %I (LIKE messages INCLUDING ALL)', name);
        EXECUTE format('ALTER TABLE messages ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', name, low, high);
      EXCEPTION WHEN check_violation THEN
        RAISE WARNING 'messages of % stay in messages_other', name;
      END;
    END IF;
    month := month + interval '1 month';
  END LOOP;
END $$;
