//! What services ask of one another, and the clients to ask with.
