-- Memberships that have ended are lost, and with them what was asked of threads.
DROP TABLE places, offers;
ALTER TABLE heads DROP prev;

DROP INDEX members_lasting, members_ended, members_owed;
DELETE FROM members WHERE until < 9223372036854775807;
ALTER TABLE members DROP CONSTRAINT members_pkey;
ALTER TABLE members DROP began, DROP partition, DROP until, DROP owed, ADD announced boolean NOT NULL DEFAULT true;
ALTER TABLE members RENAME usr TO tell;
ALTER TABLE members ALTER announced DROP DEFAULT, ADD PRIMARY KEY (org, member, topic);
CREATE INDEX members_topic ON members (topic);

DROP INDEX threads_uid, threads_desk, threads_overridden, threads_closed, threads_agent, threads_open, threads_pending,
  threads_waiting, threads_queue;
UPDATE threads SET version = 1;
ALTER TABLE threads
  DROP partition,
  DROP has_life,
  DROP changed_at,
  DROP pending,
  DROP overridden,
  ALTER version SET DEFAULT 1;
CREATE INDEX threads_desk ON threads (org, desk);
CREATE INDEX threads_agent ON threads (org, agent) WHERE agent IS NOT NULL;
