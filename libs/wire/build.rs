//! Compiles `/proto`. No protoc is needed.

/// From the package's folder, in which build scripts run: a path fixed at compile time would be that of another checkout when both
/// share their builds.
const PROTO: &str = "../../proto";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed={PROTO}");
    let fds = protox::compile(["chat.proto", "internal.proto"], [PROTO])?;
    let mut config = prost_build::Config::new();
    // Slices of the received frame, not copies.
    config.bytes(["."]);
    config.compile_fds(fds)?;
    Ok(())
}
