//! `/metrics`: the shards' own counters, the API's, and the process's, in the `OpenMetrics` text format.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::api::EngineHandle;
use crate::backend::{Counters, Event, Outcome};
use crate::process;
use fanfare_engine::{MetricKind, ShardSnapshot};
use fanfare_turn::server::{RelaySnapshot, ServerHandle};

/// What [`Metrics::encode`] writes.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Seconds. An answer takes two hops between threads, so tens of microseconds when idle; five seconds is the
/// default of `api.answer_timeout`.
const DURATION_BUCKETS: [f64; 10] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.01, 0.05, 0.25, 1.0, 5.0,
];

/// All metrics of the server.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    operations: Family<RequestLabels, Counter>,
    durations: Family<MethodLabel, Histogram, fn() -> Histogram>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabel {
    method: &'static str,
}

impl Metrics {
    pub(crate) fn new(
        engine: EngineHandle,
        backend: Option<Arc<Counters>>,
        relay: Option<ServerHandle>,
    ) -> Self {
        let mut registry = Registry::default();
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("fanfare_build", "The server's version", build);
        let requests = Family::default();
        registry.register(
            "fanfare_api_requests",
            "Requests to the control API",
            requests.clone(),
        );
        let operations = Family::default();
        registry.register(
            "fanfare_api_operations",
            "Operations of requests: commands of batches and publications of broadcasts by themselves",
            operations.clone(),
        );
        let durations: Family<MethodLabel, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS));
        registry.register(
            "fanfare_api_request_duration_seconds",
            "From a request's head to its answer",
            durations.clone(),
        );
        registry.register_collector(Box::new(Shards(engine)));
        if let Some(relay) = relay {
            registry.register_collector(Box::new(RelayThreads(relay)));
        }
        if let Some(counters) = backend {
            registry.register_collector(Box::new(Backend(counters)));
        }
        registry.register_collector(Box::new(Process));
        Self {
            registry,
            requests,
            operations,
            durations,
        }
    }

    /// Counts a request to the control API. `method` is one of a fixed set, for every label value is kept.
    pub(crate) fn count_request(&self, method: &'static str, status: u16, took: Duration) {
        self.requests
            .get_or_create(&RequestLabels { method, status })
            .inc();
        self.durations
            .get_or_create(&MethodLabel { method })
            .observe(took.as_secs_f64());
    }

    /// Counts operations of a request that ended in the same way; most requests are one.
    pub(crate) fn count_operations(&self, method: &'static str, status: u16, count: u64) {
        self.operations
            .get_or_create(&RequestLabels { method, status })
            .inc_by(count);
    }

    /// The text.
    pub(crate) fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::with_capacity(16_384);
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// The counters of the shards, read when asked for.
#[derive(Debug)]
struct Shards(EngineHandle);

impl Collector for Shards {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let shards = self.0.0.counters();
        let values = shards.iter().map(|shard| shard.values().collect());
        encode_threads(
            encoder,
            "",
            "shard",
            ShardSnapshot::fields(),
            &values.collect::<Vec<_>>(),
        )
    }
}

/// The same of the relay's threads.
#[derive(Debug)]
struct RelayThreads(ServerHandle);

impl Collector for RelayThreads {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let threads = self.0.counters();
        let values = threads.iter().map(|thread| thread.values().collect());
        encode_threads(
            encoder,
            "turn_",
            "thread",
            RelaySnapshot::fields(),
            &values.collect::<Vec<_>>(),
        )
    }
}

/// Numbers that every thread has, with the number of the thread as their label.
fn encode_threads(
    mut encoder: DescriptorEncoder<'_>,
    prefix: &str,
    label: &str,
    fields: &[(&str, MetricKind, &str)],
    threads: &[Vec<u64>],
) -> Result<(), std::fmt::Error> {
    for (index, (name, kind, help)) in fields.iter().enumerate() {
        let name = format!("fanfare_{prefix}{name}");
        let kind = match kind {
            MetricKind::Counter => MetricType::Counter,
            MetricKind::Gauge => MetricType::Gauge,
        };
        let mut family = encoder.encode_descriptor(&name, help, None, kind)?;
        for (thread, values) in threads.iter().enumerate() {
            let label = [(label, thread.to_string())];
            let mut metric = family.encode_family(&label)?;
            let value = values.get(index).copied().unwrap_or_default();
            match kind {
                MetricType::Counter => metric.encode_counter::<NoLabelSet, _, u64>(&value, None)?,
                _ => metric.encode_gauge(&value)?,
            }
        }
    }
    Ok(())
}

/// What became of the questions to the user's backend.
#[derive(Debug)]
struct Backend(Arc<Counters>);

impl Collector for Backend {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counters = &self.0;
        let mut asked = encoder.encode_descriptor(
            "fanfare_backend_questions",
            "Questions that clients gave cause for",
            None,
            MetricType::Counter,
        )?;
        for event in Event::ALL {
            let label = [("event", event.name())];
            asked
                .encode_family(&label)?
                .encode_counter::<NoLabelSet, _, u64>(&counters.asked(event), None)?;
        }
        let mut ended = encoder.encode_descriptor(
            "fanfare_backend_answers",
            "How they ended: answered, refused, unreachable, timeout, too_many",
            None,
            MetricType::Counter,
        )?;
        for event in Event::ALL {
            for outcome in Outcome::ALL {
                let labels = [("event", event.name()), ("outcome", outcome.name())];
                ended
                    .encode_family(&labels)?
                    .encode_counter::<NoLabelSet, _, u64>(&counters.ended(event, outcome), None)?;
            }
        }
        let mut under_way = encoder.encode_descriptor(
            "fanfare_backend_questions_under_way",
            "Questions that have not ended",
            None,
            MetricType::Gauge,
        )?;
        for event in Event::ALL {
            let label = [("event", event.name())];
            under_way
                .encode_family(&label)?
                .encode_gauge(&counters.under_way(event))?;
        }
        encoder
            .encode_descriptor(
                "fanfare_backend_answer_retries",
                "Answers that waited because a shard's inbox was full, once per try",
                None,
                MetricType::Counter,
            )?
            .encode_counter::<NoLabelSet, _, u64>(&counters.retries(), None)
    }
}

/// What Prometheus clients commonly say of their process, from /proc.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let process = process::read();
        let mut gauge = |name: &str, help: &str, value: Option<u64>| {
            let Some(value) = value else {
                return Ok(());
            };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
        };
        gauge(
            "process_resident_memory_bytes",
            "Resident memory.",
            process.resident_bytes,
        )?;
        gauge(
            "process_virtual_memory_bytes",
            "Virtual memory.",
            process.virtual_bytes,
        )?;
        gauge(
            "process_open_fds",
            "Open file descriptors; direct descriptors of rings are none.",
            process.open_fds,
        )?;
        gauge(
            "process_max_fds",
            "Limit of open file descriptors.",
            process.max_fds,
        )?;
        gauge("process_threads", "Threads.", process.threads)?;
        gauge(
            "process_start_time_seconds",
            "Unix time of the start.",
            process.started_at,
        )?;
        let Some(seconds) = process.cpu_seconds else {
            return Ok(());
        };
        let mut cpu = encoder.encode_descriptor(
            "process_cpu_seconds",
            "User and system CPU time.",
            None,
            MetricType::Counter,
        )?;
        cpu.encode_counter::<NoLabelSet, _, u64>(&seconds, None)
    }
}
