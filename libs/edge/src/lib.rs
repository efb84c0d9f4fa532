//! What the edges share: accept, limits, publish, attach, drain.
