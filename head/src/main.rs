//! The `wulf` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    wulfpack_head::cli::main()
}
