//! Per-shard counters: plain stores by one writer, read on scrape.

use std::sync::atomic::AtomicU64;

use crossbeam::utils::CachePadded;

crate::counters! {
    /// The live numbers of a shard.
    pub(crate) struct Counters;
    /// What the numbers of one shard were at one moment.
    pub struct ShardSnapshot;
    connections: Gauge, "Connections open.";
    members: Gauge, "Memberships of connections in rooms.";
    rooms_local: Gauge, "Rooms with members on this shard.";
    rooms_home: Gauge, "Rooms that this shard orders.";
    users_home: Gauge, "Users that this shard keeps the connections of.";
    connections_accepted: Counter, "Connections accepted.";
    connections_closed: Counter, "Connections closed, for whatever reason.";
    connections_refused_full: Counter, "Times accepting stopped because the connection table was full.";
    accept_errors: Counter, "Accepts that failed (out of memory, aborted by the peer).";
    authenticated: Counter, "Connections that authenticated.";
    auth_failures: Counter, "Tokens that were not accepted.";
    handshake_timeouts: Counter, "Connections closed because they did not authenticate in time.";
    message_timeouts: Counter, "Connections closed because a message they had begun took too long.";
    pong_timeouts: Counter, "Connections closed because they did not answer a ping.";
    protocol_errors: Counter, "Connections closed because of what they sent.";
    http_requests: Counter, "HTTP requests, those that open a WebSocket or a stream among them.";
    requests_refused_full: Counter, "Connections closed because the shard kept as many bytes of unfinished requests as it may.";
    request_bytes: Gauge, "Bytes kept of HTTP requests that are not complete.";
    messages_refused: Counter, "Messages of clients to the backend that it refused, or that did not reach it.";
    polls_open: Gauge, "Long-poll sessions.";
    polls_refused_full: Counter, "Long-poll sessions refused because there were as many as there may be.";
    polls_timed_out: Counter, "Long-poll sessions that ended because no request came.";
    goim_messages_unheard: Counter, "Messages of goim clients to the application, which has nobody listening.";
    goim_pushes_unwanted: Counter, "Pushes to a goim client's user or key with an operation that it does not accept.";
    bytes_received: Counter, "Bytes received from clients.";
    messages_received: Counter, "Messages received from clients.";
    client_errors: Counter, "Error replies to clients.";
    publications: Counter, "Publications ordered by this shard.";
    publications_duplicate: Counter, "Publications dropped as repeats of an idempotency key.";
    frames_encoded: Counter, "Frames made of publications and other news of rooms, one per encoding in use.";
    frames_appended: Counter, "Frames appended to lanes.";
    deliveries: Counter, "Frames that members were sent (one per member and frame).";
    sends: Counter, "Sends of lane content.";
    sends_direct: Counter, "Sends of replies, pings and other direct output.";
    sends_short: Counter, "Sends that the kernel took in part or not at all.";
    sends_failed: Counter, "Sends that failed because the connection was gone.";
    bytes_sent: Counter, "Bytes handed to the kernel.";
    unsent_bytes: Gauge, "Bytes of direct output that wait for connections to read.";
    stalled: Gauge, "Connections that wait for their socket to take more.";
    slow_disconnected: Counter, "Connections closed because they read too slowly.";
    slow_skipped: Counter, "Members moved to the tail of their room because they read too slowly, and told of the gap.";
    recovered: Counter, "Subscriptions that recovered everything they missed.";
    unrecovered: Counter, "Subscriptions that asked to recover and could not.";
    buffers_exhausted: Counter, "Turns that ended, and receives that had to be armed again, for want of receive buffers.";
    completions_stale: Counter, "Completions of connections that had gone (their buffers went back).";
    completion_overflows: Counter, "Overflows of the completion queue (flushed, nothing lost).";
    ring_enters: Counter, "io_uring_enter calls.";
    ring_errors: Counter, "Operations that failed in a way that should not happen (close, cancel, shutdown).";
    turns: Counter, "Turns of the shard's loop.";
    inbox_requests: Counter, "Requests taken from the inbox.";
    inbox_deliveries: Counter, "Deliveries taken from the inbox.";
    inbox_full: Counter, "Messages that found another shard's inbox full and waited.";
    inputs_deferred: Counter, "Receives left waiting because another shard's inbox was full.";
    wakes_sent: Counter, "Wake-ups sent to other shards.";
}

/// What a shard shows to the outside.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) counters: CachePadded<Counters>,
    /// When the loop last turned, in milliseconds since the engine started.
    pub(crate) turned_at_ms: CachePadded<AtomicU64>,
}
