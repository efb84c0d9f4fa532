//! Compiles `/proto/rpc.proto`. No protoc is needed.

/// From the package's folder, in which build scripts run: a path fixed at compile time would be that of another checkout when both
/// share their builds.
const PROTO: &str = "../../proto";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed={PROTO}/rpc.proto");
    let fds = protox::compile(["rpc.proto"], [PROTO])?;
    tonic_prost_build::configure()
        // Calls are made through one function for all of them: see client.
        .build_client(false)
        // Slices of the received message, not copies.
        .bytes(".")
        .compile_fds(fds)?;
    Ok(())
}
