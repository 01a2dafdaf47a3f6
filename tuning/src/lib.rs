//! What a Linux host needs for a million connections: checks of what is there, and advice with its reason.
//!
//! Nothing is implemented yet, and nothing here pretends to be. It will be a library without I/O of its own choosing
//! (facts about the host in, findings out) behind `fanfare doctor`. Until then, `docs/operations.md` lists the settings
//! that matter, and the server's start-up probe names what it cannot run without.
#![forbid(unsafe_code)]
