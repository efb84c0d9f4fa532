-- The directory: who answers at which desk. It changes while the services run. Whoever changes it holds the advisory lock
-- 'longwire.directory' for the transaction, so that changes are committed in the order of their numbers.

-- Each organisation with the number of its last change; numbers grow over all of them.
CREATE TABLE directory (
  org     text COLLATE "C" PRIMARY KEY,
  version bigint NOT NULL
);
CREATE INDEX directory_version ON directory (version);

CREATE TABLE agents (
  org         text COLLATE "C" NOT NULL,
  uid         text COLLATE "C" NOT NULL,
  usr         text COLLATE "C" NOT NULL,
  nickname    text NOT NULL,
  avatar      text NOT NULL,
  status      text NOT NULL,
  max_threads bigint,
  PRIMARY KEY (org, uid)
);

CREATE TABLE desks (
  org      text COLLATE "C" NOT NULL,
  uid      text COLLATE "C" NOT NULL,
  kind     text NOT NULL,
  nickname text NOT NULL,
  avatar   text NOT NULL,
  PRIMARY KEY (org, uid)
);

-- The agents of a desk, in their order.
CREATE TABLE desk_agents (
  org   text COLLATE "C" NOT NULL,
  desk  text COLLATE "C" NOT NULL,
  place bigint NOT NULL,
  agent text COLLATE "C" NOT NULL,
  PRIMARY KEY (org, desk, place)
);
CREATE INDEX desk_agents_agent ON desk_agents (org, agent);

-- What the configuration has named once: it is never entered again, whatever became of it.
CREATE TABLE directory_seeds (
  org text COLLATE "C" NOT NULL,
  uid text COLLATE "C" NOT NULL,
  PRIMARY KEY (org, uid)
);
