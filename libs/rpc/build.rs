//! Compiles `/proto/rpc.proto`. No protoc is needed.
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.join("rpc.proto").display());
    let fds = protox::compile(["rpc.proto"], [&root])?;
    tonic_prost_build::configure()
        // Calls are made through one function for all of them: see grpc::client.
        .build_client(false)
        // Slices of the received message, not copies.
        .bytes(".")
        .compile_fds(fds)?;
    Ok(())
}
