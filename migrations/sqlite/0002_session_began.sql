-- The epoch with which each session began, so that it can be told what came before it; 0 = not known.
ALTER TABLE sessions ADD COLUMN began INTEGER NOT NULL DEFAULT 0;
