/// What is known of a uid that somebody says is their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has shown that it is theirs: whoever says so is an anonymous visitor of that uid.
    Free,
    /// It has been used with a token that proves it, and is of no use without one any more.
    Proven,
    /// It is an agent's, an agent's user's or a workgroup's: no visitor can have it.
    Directory,
}
