//! Compiles the protos with protox, which is pure Rust: no `protoc` is needed.

use std::path::PathBuf;

const PROTOS: [&str; 10] = [
    "proto/laddplan/v1/admin.proto",
    "proto/laddplan/v1/alarm.proto",
    "proto/laddplan/v1/common.proto",
    "proto/laddplan/v1/driver.proto",
    "proto/laddplan/v1/rollout.proto",
    "proto/laddplan/v1/site.proto",
    "proto/laddplan/v1/session.proto",
    "proto/laddplan/v1/plan.proto",
    "proto/laddplan/v1/gateway.proto",
    "proto/laddplan/journal/v1/journal.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // The same bytes serve reflection and JSON.
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;
    // A message knows its full name, by which its descriptor is found.
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    // Without `build_transport` the client has no `connect` of its own, which would clash with the RPC of that name.
    tonic_prost_build::configure()
        .build_transport(false)
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}
