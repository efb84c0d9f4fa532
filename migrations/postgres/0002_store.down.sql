DROP FUNCTION messages_make_months();
DROP TABLE floors, reads, marks, receipts, visitors, members, threads, wills, sessions, retained, streams, uids, messages,
  receipt_heads, heads, topics, branches, synced, progress,
  log_identity;
