//! Requests to the gateway: `METHOD /path`, headers, a body. Whatever comes in, the gateway answers, and never that it is
//! broken: of what is its own fault only 503 is left, for a coordinator that nobody runs here.
#![no_main]

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, header};
use fuzz::framed;
use gateway::{Config, Gateway};
use journal::memory::Memory;
use journal::{Plan, Provision, registry};
use libfuzzer_sys::fuzz_target;
use protocol::builder::AgentDef;
use protocol::ids::ProcessId;
use protocol::manifest::{DeskSpec, ModelSpec};
use protocol::orchestration::Orchestration;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

/// Requests before everything begins anew: conversations that were started would fill the memory.
const REQUESTS: u32 = 2_000;

struct World {
    runtime: Runtime,
    router: Router,
    requests: u32,
}

impl World {
    fn new() -> Self {
        // On a paused clock no timeout takes time.
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        let router = runtime.block_on(async {
            let desk = AgentDef::new("desk").description("People.").desk(DeskSpec::default());
            let triage = AgentDef::new("triage").instructions("Triage.");
            let orchestration = Orchestration::builder("shop")
                .model("default", ModelSpec::openai("nobody-asks-it"))
                .agents([&triage, &desk])
                .start_with(&triage)
                .add(&triage, &desk)
                .build()
                .expect("a definition");
            let orchestration: Orchestration = orchestration.into();
            let broker = Memory::new();
            let agents = orchestration.agents().map(|agent| agent.name.clone()).collect();
            broker.provision(&Plan::new(orchestration.name().clone(), agents)).await.expect("provisioned");
            registry::register(&broker, &orchestration).await.expect("registered");
            let process: ProcessId = "gateway-1".parse().expect("an id");
            let config = Config {
                listen: (Ipv4Addr::LOCALHOST, 0).into(),
                group: process.clone(),
                origins: Vec::new(),
                trace_url: None,
                streams_max: 8,
                connections_max: 8,
            };
            let bound = Gateway::bind(Arc::new(broker), process, [orchestration.name().clone()], config).await;
            bound.expect("a free port").router()
        });
        Self { runtime, router, requests: 0 }
    }

    fn answer(&mut self, request: Request<Body>) {
        self.requests += 1;
        let shown = format!("{} {}", request.method(), request.uri());
        let status = self.runtime.block_on(self.router.clone().oneshot(request)).expect("infallible").status();
        assert!(!status.is_server_error() || status == 503, "{shown}: {status}");
    }
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World::new());
}

fuzz_target!(|input: &[u8]| {
    let Some(framed) = framed::read(input) else { return };
    let Some((method, path)) = framed.first.split_once(' ') else { return };
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, "127.0.0.1");
    for (name, value) in framed.fields {
        request = request.header(name, value);
    }
    let Ok(request) = request.body(Body::from(framed.body.to_vec())) else { return };
    WORLD.with_borrow_mut(|world| {
        if world.requests == REQUESTS {
            *world = World::new();
        }
        world.answer(request);
    });
});
