-- Uids that have been used with a token that proves them: without one they are of no use any more.
CREATE TABLE proven (
  org TEXT NOT NULL,
  uid TEXT NOT NULL,
  PRIMARY KEY (org, uid)
) WITHOUT ROWID;
