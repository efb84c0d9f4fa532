//! The table of calls, and what happens around each of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method};
use tokio::time::Instant;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tracing::{Instrument, debug, error, info_span};

use crate::app::App;
use crate::reply::{CODE_HEADER, Problem, unknown_path, wrong_method};
use crate::{agents, directory, explain, history, lifecycle, login, openapi, people, send, threads, visitor};

/// One path and what answers there.
type Route = (&'static str, MethodRouter<Arc<App>>);

/// Every path there is.
fn table() -> Vec<Route> {
    vec![
        ("/", get(openapi::index)),
        ("/openapi.json", get(openapi::document)),
        ("/auth/v1/login", post(login::login)),
        ("/auth/v1/login/accessToken", post(login::again)),
        ("/visitor/api/v1/init", post(visitor::init)),
        ("/visitor/api/v1/thread", post(visitor::thread)),
        ("/visitor/api/v1/message/send", post(send::by_visitor)),
        (
            "/visitor/api/v1/message/thread/topic",
            get(history::page_by_visitor),
        ),
        (
            "/visitor/api/v1/message/unread/count",
            get(people::unread_by_visitor),
        ),
        ("/visitor/api/v1/messages", get(history::stretch_by_visitor)),
        ("/visitor/api/v1/ping", get(people::ping)),
        ("/api/v1/message/rest/send", post(send::by_holder)),
        ("/api/v1/message/query/topic", get(history::page_by_holder)),
        ("/api/v1/message/unread/count", get(people::unread_by_holder)),
        ("/api/v1/messages", get(history::stretch_by_holder)),
        ("/api/v1/thread/query", get(threads::query)),
        ("/api/v1/thread/close", post(lifecycle::close)),
        ("/api/v1/thread/close/topic", post(lifecycle::close_topic)),
        ("/api/v1/thread/leave", post(lifecycle::leave)),
        ("/visitor/api/v1/thread/close", post(lifecycle::close_by_visitor)),
        ("/api/v1/connection/presence/{uid}", get(people::presence)),
        ("/api/v1/agent/query", get(agents::query)),
        ("/api/v1/agent/status", post(agents::status)),
        ("/api/v1/agent/update/status", post(agents::update_status)),
        ("/api/v1/admin/explain", get(explain::explain)),
        ("/api/v1/admin/directory/agents", get(directory::agents::list)),
        (
            "/api/v1/admin/directory/agents/{uid}",
            get(directory::agents::show)
                .put(directory::agents::put)
                .delete(directory::agents::remove),
        ),
        ("/api/v1/admin/directory/desks", get(directory::desks::list)),
        (
            "/api/v1/admin/directory/desks/{uid}",
            get(directory::desks::show)
                .put(directory::desks::put)
                .delete(directory::desks::remove),
        ),
    ]
}

/// The paths of the table.
pub(crate) fn paths() -> Vec<&'static str> {
    table().into_iter().map(|(path, _)| path).collect()
}

/// The calls, with a fallback that says in the envelope that there is no such path.
pub(crate) fn router(app: Arc<App>) -> Router {
    let around = Around {
        app: app.clone(),
        paths: paths().into(),
    };
    let router = table()
        .into_iter()
        .fold(Router::new(), |router, (path, route)| router.route(path, route));
    router
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown_path)
        .layer(cors(&app.config.cors_origins))
        .layer(from_fn_with_state(around, answer))
        .with_state(app)
}

fn cors(origins: &[String]) -> CorsLayer {
    let origins = if origins.iter().any(|o| o == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|o| HeaderValue::from_str(o).ok()))
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE])
        .expose_headers([RETRY_AFTER, CODE_HEADER])
        .max_age(Duration::from_secs(3600))
}

#[derive(Clone)]
struct Around {
    app: Arc<App>,
    paths: Arc<[&'static str]>,
}

/// The span, the series, and what is asked before any call. The query is not in the span: it may hold a token.
async fn answer(State(around): State<Around>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let matched = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let known = |path: &str| around.paths.iter().copied().find(|known| *known == path);
    let route = matched.and_then(known).unwrap_or("none");
    let span = info_span!("http", method = %request.method(), route);
    let app = &around.app;
    let response = match may_pass(app, &request) {
        Ok(()) => next.run(request).instrument(span.clone()).await,
        Err(problem) => problem.into_response(),
    };
    let (status, took) = (response.status(), started.elapsed());
    app.metrics.answered(route, status, took);
    let _entered = span.enter();
    if status == http::StatusCode::INTERNAL_SERVER_ERROR {
        error!(%status, ?took, "a request failed");
    } else {
        debug!(%status, ?took, "answered");
    }
    response
}

fn may_pass(app: &App, request: &Request) -> Result<(), Problem> {
    if app.stop.soft().is_cancelled() {
        return Err(Problem::draining());
    }
    match request.extensions().get::<ConnectInfo<SocketAddr>>() {
        Some(ConnectInfo(peer)) => {
            let now = app.core.clock.monotonic();
            app.addresses.take(|| peer.ip(), now).map_err(Problem::too_fast)
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_and_nothing_else_is() {
        let documents = ["/", "/openapi.json"];
        let mut routes: Vec<_> = paths()
            .into_iter()
            .filter(|p| !documents.contains(p))
            .map(str::to_owned)
            .collect();
        routes.sort();
        let described: Vec<_> = openapi::description().paths.paths.into_keys().collect();
        assert_eq!(routes, described);
    }

    #[test]
    fn the_manual_names_every_route() {
        let manual = include_str!("../../../docs/protocols/http.md");
        for path in paths() {
            assert!(manual.contains(&format!("`{path}`")), "{path}");
        }
    }
}
