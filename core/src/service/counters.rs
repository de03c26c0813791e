//! What a service counts of its connections.

/// What has happened since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Connections accepted.
    pub accepted: u64,
    /// Times the limit of connections was reached.
    pub connection_limit: u64,
    /// Connections that were reset because their client had as many as one may have.
    pub client_limit: u64,
    /// Times reading had to wait for memory before a relay stood.
    pub kept_limit: u64,
    /// Accepts that failed (no descriptors).
    pub accept_failures: u64,
    /// Reads that had to do with a small buffer.
    pub buffers_exhausted: u64,
    /// Names that waited because all that their client may look up at once was under way.
    pub lookup_limit: u64,
    /// Connections open now.
    pub open: usize,
}
