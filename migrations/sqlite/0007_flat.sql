-- Topics in which nothing happens leave memory: what is asked of them is found here.

-- The highest position at which the topic has something for a session; of one that memory has, it may be older.
ALTER TABLE topics ADD COLUMN news INTEGER NOT NULL DEFAULT 0;
-- Whether it has a retained message.
ALTER TABLE topics ADD COLUMN retained INTEGER NOT NULL DEFAULT 0;
UPDATE topics SET news = max(head, receipt_head),
  retained = EXISTS (SELECT 1 FROM retained r WHERE r.topic = topics.id);
CREATE INDEX topics_news ON topics (org, partition, news);
CREATE INDEX topics_retained ON topics (org, topic) WHERE retained = 1;

-- Of a desk, the threads that are open: what those who come and go ask for.
CREATE INDEX threads_desk_open ON threads (org, desk) WHERE overridden = 0 AND status <> 'CLOSED';
