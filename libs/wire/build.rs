//! Compiles `/proto`. No protoc is needed.
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let fds = protox::compile(["chat.proto", "internal.proto"], [&root])?;
    let mut config = prost_build::Config::new();
    // Slices of the received frame, not copies.
    config.bytes(["."]);
    config.compile_fds(fds)?;
    Ok(())
}
