//! A whole cluster on this machine, at the usual ports, until ctrl-C: `make cluster`.
#![allow(clippy::print_stdout, reason = "it is a command")]

use testkit::Endpoints;
use testkit::cluster::{Cluster, Listener, ROLES};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    println!("starting three nats-servers, Redis, PostgreSQL, two of every role, and HAProxy …");
    let cluster = tokio::select! {
        cluster = Cluster::builder().at_usual_ports().start() => cluster,
        // What has been started ends with this process.
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    introduce(&cluster);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    println!("stopping");
    cluster.terminate().await;
    Ok(())
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
