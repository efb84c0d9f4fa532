//! What travels: the chat envelope and the internal frames.
