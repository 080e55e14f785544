//! Floor 10: the process. Command line, sockets, the loop, and what runs beside it.

pub mod cli;
