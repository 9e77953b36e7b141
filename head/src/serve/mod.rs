//! `wulf serve`: starts every service, drops privileges, supervises.
