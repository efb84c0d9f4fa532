-- Uids that have been used with a token that proves them: without one they are of no use any more.
CREATE TABLE proven (
  org text COLLATE "C" NOT NULL,
  uid text COLLATE "C" NOT NULL,
  PRIMARY KEY (org, uid)
);
