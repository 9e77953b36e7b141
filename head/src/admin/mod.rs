//! The administrator's API on a unix socket: what the command line asks the running head.
