//! A whole cluster on this machine, at the usual ports, until ctrl-C: `make cluster`.
//!
//! For programs: with `LONGWIRE_READY_JSON` it takes free ports and prints one line of JSON when it is ready, and with
//! `LONGWIRE_CLUSTER_REPLICAS=n` it starts so many of every role, with `LONGWIRE_CLUSTER_PARTITIONS=n` on a log of so many.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]

use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;

use serde_json::json;
use testkit::Endpoints;
use testkit::cluster::{Builder, Cluster, Listener, ROLES, USUAL_PORTS};
use tokio::signal::unix::{SignalKind, signal};

/// As many as an installation has that says nothing.
const PARTITIONS: u16 = 4;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cluster: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> std::io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let for_a_program = std::env::var_os("LONGWIRE_READY_JSON").is_some();
    let builder = builder(for_a_program)?;
    if !for_a_program {
        check_ports()?;
        println!("starting three nats-servers, Redis, PostgreSQL, the roles, and HAProxy …");
    }
    let cluster = tokio::select! {
        cluster = builder.start() => cluster,
        // What has been started ends with this process.
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    match for_a_program {
        true => println!("{}", describe(&cluster)),
        false => introduce(&cluster),
    }
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    if !for_a_program {
        println!("stopping");
    }
    cluster.terminate().await;
    Ok(())
}

/// HAProxy would share the ports of another one: each would get some of the other's clients.
fn check_ports() -> std::io::Result<()> {
    for port in USUAL_PORTS {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| {
            let text = format!(
                "127.0.0.1:{port}: {error}; end what listens there, as another `make cluster` or `make run`"
            );
            std::io::Error::new(error.kind(), text)
        })?;
    }
    Ok(())
}

fn builder(for_a_program: bool) -> std::io::Result<Builder> {
    let mut builder = Cluster::builder();
    if let Ok(count) = std::env::var("LONGWIRE_CLUSTER_REPLICAS") {
        builder = builder.replicas(count.parse().map_err(std::io::Error::other)?);
    }
    builder = builder.partitions(match std::env::var("LONGWIRE_CLUSTER_PARTITIONS") {
        Ok(count) => count.parse().map_err(std::io::Error::other)?,
        Err(_) => PARTITIONS,
    });
    Ok(match for_a_program {
        true => builder,
        false => builder.at_usual_ports(),
    })
}

/// Addresses, and the process ids by what they are.
fn describe(cluster: &Cluster) -> serde_json::Value {
    let Endpoints { mqtt, ws, http, ops } = cluster.at();
    let servers: Vec<_> = cluster.nats().iter().collect();
    let secret = cluster.data().path().join("auth.secret");
    let mut pids = json!({
        "longwire": cluster.replicas().map(|replica| replica.pid()).collect::<Vec<_>>(),
        "nats": servers.iter().map(|nats| nats.pid()).collect::<Vec<_>>(),
        "postgres": [cluster.postgres().pid()],
        "redis": [cluster.redis().pid()],
        "haproxy": [cluster.balancer().pid()],
    });
    let mut ops_of = json!({});
    for role in ROLES {
        let replicas = cluster.role(role);
        pids[role] = replicas.iter().map(|replica| replica.pid()).collect();
        let of_role = replicas
            .iter()
            .map(|replica| replica.at(Listener::Ops).to_string());
        ops_of[role] = of_role.collect();
    }
    json!({
        "mqtt": mqtt, "ws": ws, "http": http, "ops": ops,
        "secret": secret,
        "database": cluster.database(),
        "nats_monitor": servers.iter().map(|nats| nats.monitor_url()).collect::<Vec<_>>(),
        "pids": pids,
        "ops_of": ops_of,
    })
}

fn introduce(cluster: &Cluster) {
    let Endpoints { mqtt, ws, http, ops } = cluster.at();
    println!(
        "Longwire is ready, behind one balancer.\n\
         \n  MQTT        mqtt://{mqtt}   ws://{http}/websocket   ws://{ws}/websocket\
         \n  STOMP       ws://{http}/stomp\
         \n  HTTP        http://{http}/   (OpenAPI: http://{http}/openapi.json)\
         \n  balancer    http://{ops}/   http://{ops}/metrics\n"
    );
    for role in ROLES {
        for replica in cluster.role(role) {
            let ops = replica.at(Listener::Ops);
            println!(
                "  {:<15} pid {:<8} http://{ops}/readyz   http://{ops}/metrics",
                replica.name(),
                replica.pid()
            );
        }
    }
    for nats in cluster.nats().iter() {
        println!(
            "  {:<15} pid {:<8} {}   {}",
            nats.name(),
            nats.pid(),
            nats.url(),
            nats.monitor_url()
        );
    }
    let (redis, postgres) = (cluster.redis(), cluster.postgres());
    println!("  {:<15} pid {:<8} {}", "redis", redis.pid(), redis.url());
    println!(
        "  {:<15} pid {:<8} {}",
        "postgres",
        postgres.pid(),
        cluster.database()
    );
    let data = cluster.data().path().display();
    println!(
        "\nA token for an agent:\
         \n  longwire token --data {data} --uid agent1 --role agent --alias df_ag_uid\
         \nor log in as agent1/agent1:\
         \n  curl -s http://{http}/auth/v1/login -H 'content-type: application/json' \
         -d '{{\"username\":\"agent1\",\"password\":\"agent1\"}}'\
         \n\nKill what you like by its pid. Ctrl-C ends it all; nothing is kept.\n"
    );
}
