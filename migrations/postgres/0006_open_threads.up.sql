-- Of a desk, the threads that are open: what those who come and go ask for.
CREATE INDEX threads_desk_open ON threads (org, desk) WHERE NOT overridden AND status <> 'CLOSED';
