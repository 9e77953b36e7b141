//! PID 1: starts the child, reaps, reports, and becomes init.
