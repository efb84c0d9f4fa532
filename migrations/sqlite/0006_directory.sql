-- The directory: who answers at which desk. It changes while the services run.

-- Each organisation with the number of its last change; numbers grow over all of them.
CREATE TABLE directory (
  org     TEXT PRIMARY KEY,
  version INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX directory_version ON directory (version);

CREATE TABLE agents (
  org         TEXT NOT NULL,
  uid         TEXT NOT NULL,
  user        TEXT NOT NULL,
  nickname    TEXT NOT NULL,
  avatar      TEXT NOT NULL,
  status      TEXT NOT NULL,
  max_threads INTEGER,
  PRIMARY KEY (org, uid)
) WITHOUT ROWID;

CREATE TABLE desks (
  org      TEXT NOT NULL,
  uid      TEXT NOT NULL,
  kind     TEXT NOT NULL,
  nickname TEXT NOT NULL,
  avatar   TEXT NOT NULL,
  PRIMARY KEY (org, uid)
) WITHOUT ROWID;

-- The agents of a desk, in their order.
CREATE TABLE desk_agents (
  org   TEXT NOT NULL,
  desk  TEXT NOT NULL,
  place INTEGER NOT NULL,
  agent TEXT NOT NULL,
  PRIMARY KEY (org, desk, place)
) WITHOUT ROWID;
CREATE INDEX desk_agents_agent ON desk_agents (org, agent);

-- What the configuration has named once: it is never entered again, whatever became of it.
CREATE TABLE directory_seeds (
  org TEXT NOT NULL,
  uid TEXT NOT NULL,
  PRIMARY KEY (org, uid)
) WITHOUT ROWID;
