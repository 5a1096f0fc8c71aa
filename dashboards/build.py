#!/usr/bin/env python3
"""Builds dashboards/tieline.json with Grafana's own library: build.py [--check], which only compares.

Every expression is run against a real Prometheus by tests/it/watching.rs. What Grafana makes of the file was never seen: it was not
run here.
"""

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.common import ReduceDataOptions
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueColorMode, BigValueTextMode
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableOption,
    VariableRefresh,
)

HERE = Path(__file__).parent
SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
I = 'instance=~"$instance"'
S = I + ',sink="$sink"'
CERTAIN = 'certainty!="possible",' + I
RED_FROM_ONE = [(None, "green"), (1.0, "red")]


def thresholds(steps):
    steps = [Threshold(value=value, color=color) for value, color in steps]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def words(**said):
    """Mappings such as one="Yes": what a value is called, and in which colour."""
    options = {number: ValueMappingResult(text=text, color=color) for number, (text, color) in said.items()}
    return [ValueMap(options={key[1:]: value for key, value in options.items()})]


def queries(panel, targets):
    for place, (legend, expression) in enumerate(targets.items()):
        query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(chr(ord("A") + place))
        panel.with_target(query)
    return panel


def answer(title, question, targets, steps, unit="short", mappings=None):
    panel = stat.Panel().title(title).description(question).datasource(SOURCE).unit(unit).decimals(0)
    panel.thresholds(thresholds(steps)).color_mode(BigValueColorMode.BACKGROUND).span(6).height(6)
    panel.reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
    panel.text_mode(BigValueTextMode.VALUE_AND_NAME if len(targets) > 1 else BigValueTextMode.VALUE)
    if mappings:
        panel.mappings(mappings)
    return queries(panel, targets)


def graph(title, question, targets, unit="short", span=8):
    panel = timeseries.Panel().title(title).description(question).datasource(SOURCE).unit(unit)
    return queries(panel.min(0).span(span).height(7), targets)


def quantile(part, metric, labels, by):
    return f"histogram_quantile({part}, sum by ({by}) (rate({metric}_bucket{{{labels}}}[$__rate_interval])))"


def grown(metric, labels, window, seconds, by):
    """How much a counter has grown, summed by labels. What was there at the first scrape is no increase to Prometheus, and the gap of a restart is:
    of a process that is younger than the window, its whole counter is taken where that is more."""
    own = f"sum by (instance{', ' + by if by else ''}) "
    increase = f"{own}(increase({metric}{{{labels}}}[{window}]))"
    young = f'({own}({metric}{{{labels}}}) and on (instance) time() - process_start_time_seconds{{job="tieline",{I}}} < {seconds})'
    return f"sum{f' by ({by})' if by else ''} (({increase} > {young}) or {young} or {increase})"


def top():
    yield answer(
        "Is it live?", "Subscribed, hearing frames, and every sink acknowledges; /readyz says why not.",
        {"": f"min(tieline_ready{{{I}}})"}, [(None, "red"), (1.0, "green")],
        mappings=words(_0=("No", "red"), _1=("Yes", "green")),
    )
    yield answer(
        "Are we losing anything?", "Gaps that are open now: notifications may be missed at this moment.",
        {"": f"sum(tieline_gap_open{{{I}}})"}, RED_FROM_ONE, mappings=words(_0=("No", "green")),
    )
    yield answer(
        "What was lost in 24 hours?", "Certain gaps and their length; /api/v1/gaps names each. Several restarts count as one gap, and stand beside it. Refused: received, and no room in the journal.",
        {
            "gaps": f"sum({grown('tieline_gaps_total', CERTAIN, '24h', 86400, 'cause')})",
            "seconds": grown("tieline_gap_seconds_total", CERTAIN, "24h", 86400, ""),
            "refused events": grown("tieline_events_refused_total", I, "24h", 86400, ""),
            "restarts": f'sum(changes(process_start_time_seconds{{job="tieline",{I}}}[24h]))',
        },
        RED_FROM_ONE,
    )
    yield answer(
        "Whose fault is it?", "Who has to act; the status page says it in a sentence.",
        {
            "Genesys, or the way to it": f"max(tieline_last_frame_age_seconds{{{I}}} > bool 35)",
            "the client secret": f"max(tieline_credentials_rejected{{{I}}})",
            "where the secret is kept": f"1 - min(tieline_secret_source_up{{{I}}})",
            "too many requests": f"sum(increase(tieline_throttled_total{{{I}}}[10m])) > bool 0",
            "a broker": f"1 - min(tieline_sink_connected{{{I}}})",
            "tieline itself": '1 - min(up{job="tieline"})',
        },
        RED_FROM_ONE, mappings=words(_0=("no", "green"), _1=("yes", "red")),
    )


def gaps():
    yield graph("Gaps in an hour, by cause", "How often, and why?",
                {"{{cause}}": grown("tieline_gaps_total", I, "1h", 3600, "cause")})
    yield graph("Gap seconds in an hour", "For how long altogether? Counts a gap when it ends.",
                {"seconds": grown("tieline_gap_seconds_total", I, "1h", 3600, "")}, "s")
    yield graph("Re-based after gaps, in an hour", "What could REST show again? Topics by what came of them, and the events that were published.",
                {"{{outcome}}": f"sum by (outcome) (increase(tieline_rebased_topics_total{{{I}}}[1h]))",
                 "events": f"sum(increase(tieline_snapshots_total{{{I}}}[1h]))"})
    yield graph("Keys that have fallen silent", "Is a lively queue silent while its session is well? Each lies in a possible gap.",
                {"now": f"sum(tieline_feed_suspected{{{I}}})", "suspicions in an hour": f"sum(increase(tieline_feed_suspicions_total{{{I}}}[1h]))"})


def sessions():
    yield graph("Sessions by state", "What are they doing? In quiet times: as many live as wanted, and nothing else.",
                {"{{state}}": f"sum by (state) (tieline_sessions{{{I}}})", "wanted": f"sum(tieline_sessions_wanted{{{I}}})"})
    yield graph("Seconds since the last frame and event", "Is the peer alive, is the feed? More than 35 s without a frame is silence.",
                {"frame": f"max(tieline_last_frame_age_seconds{{{I}}})", "event": f"max(tieline_last_event_age_seconds{{{I}}})"}, "s")
    yield graph("Attempts to get back, in an hour", "Why do sessions have to try again?",
                {"{{reason}}": f"sum by (reason) (increase(tieline_reconnects_total{{{I}}}[1h]))"})
    yield graph("Notifications a second, by family", "What is heard, before duplicates are dropped?",
                {"{{family}}": f"sum by (family) (rate(tieline_notifications_total{{{I}}}[$__rate_interval]))"}, "cps")
    yield graph("Topics", "Did the platform take them all?",
                {"{{state}}": f"sum by (state) (tieline_topics{{{I}}})"})
    yield graph("From what happened to its frame", "How far behind is Genesys? Of events whose body says when.",
                {"median": quantile(0.5, "tieline_event_age_seconds", I, "le"), "99 of 100": quantile(0.99, "tieline_event_age_seconds", I, "le")}, "s")


def rotation():
    yield graph("Rotations in an hour", "Which planned replacements were there, and did they work?",
                {"{{trigger}} {{outcome}}": f"sum by (trigger, outcome) (increase(tieline_rotations_total{{{I}}}[1h]))"})
    yield graph("Overlap", "How long did both sessions deliver?",
                {"{{trigger}}": f"sum by (trigger) (rate(tieline_overlap_seconds_sum{{{I}}}[1h])) / sum by (trigger) (rate(tieline_overlap_seconds_count{{{I}}}[1h]))"}, "s")
    yield graph("Secret in use, and the newest", "Was the last rotation taken up? Apart for long means that it was not.",
                {"in use": f"max(tieline_secret_version{{{I}}})", "newest": f"max(tieline_secret_newest_version{{{I}}})"})
    yield graph("Until it ends", "How long do token and channel last? Both are replaced 15 minutes before.",
                {"token": f"min(tieline_token_expiry_timestamp_seconds{{{I}}} - time())", "channel": f"min(tieline_channel_expiry_timestamp_seconds{{{I}}} - time())"}, "s")
    yield graph("Age of secret and channel", "Since when are the secret in use and the newest known, and the oldest channel subscribed?",
                {"secret in use": f"max(time() - (tieline_secret_in_use_timestamp_seconds{{{I}}} > 0)) or vector(0)",
                 "newest secret": f"max(time() - (tieline_secret_seen_timestamp_seconds{{{I}}} > 0)) or vector(0)", "channel": f"max(tieline_channel_age_seconds{{{I}}})"}, "s")
    yield graph("Channels", "How many of the 20 are used? One more silently ends another.",
                {"used": f"max(tieline_channels{{{I}}})", "there are": f"max(tieline_channels_max{{{I}}})"})
    yield graph("Requests that may still be made", "Is the OAuth client's budget spent?",
                {"{{budget}}": f"min by (budget) (tieline_budget_left{{{I}}})"})
    yield graph("Answers of 429, and seconds waited for them", "Are we asked to slow down?",
                {"answers": f"sum(increase(tieline_throttled_total{{{I}}}[1h]))", "seconds": f"sum(increase(tieline_throttled_wait_seconds_total{{{I}}}[1h]))"})


def arbitration():
    yield graph("Duplicates a second", "What did two sessions say twice? Rises in overlaps, and is 0 outside.",
                {"dropped": f"sum(rate(tieline_duplicates_total{{{I}}}[$__rate_interval]))"}, "cps")
    yield graph("Marked events in an hour", "What could not be told apart, or came after a younger one?",
                {"possible duplicates": f"sum(increase(tieline_possible_duplicates_total{{{I}}}[1h]))", "late": f"sum(increase(tieline_late_total{{{I}}}[1h]))"})
    yield graph("Frames that could not be read, in an hour", "Does Genesys send what we do not know?",
                {"frames": f"sum(increase(tieline_frames_unreadable_total{{{I}}}[1h]))"})


    yield graph("Sights a second, by leg", "Which of two sessions shows an event first, which follows, and what does one never show?",
                {"{{leg}} {{outcome}}": f"sum by (leg, outcome) (rate(tieline_leg_sights_total{{{I}}}[$__rate_interval]))"}, "cps")
    yield graph("How much later a leg shows what it follows with", "Does one leg lag? More than arbitration.hold makes late or doubled events.",
                {"{{leg}}": f"sum by (leg) (rate(tieline_leg_lag_seconds_total{{{I}}}[$__rate_interval])) / sum by (leg) (rate(tieline_leg_sights_total{{outcome=\"followed\",{I}}}[$__rate_interval]) > 0) or sum by (leg) (tieline_leg_lag_seconds_total{{{I}}}) * 0"}, "s")


def journal():
    yield graph("Events that wait", "What has each sink not acknowledged?",
                {"{{sink}}": f"sum by (sink) (tieline_journal_events{{{I}}})"})
    yield graph("Bytes that wait", "How close is it to journal.max_bytes, at which events are refused?",
                {"{{sink}}": f"max by (sink) (tieline_journal_bytes{{{I}}})", "the bound": f"max(tieline_journal_max_bytes{{{I}}})"}, "bytes")
    yield graph("Age of the oldest", "How far behind is each sink?",
                {"{{sink}}": f"max by (sink) (tieline_journal_oldest_age_seconds{{{I}}})"}, "s")
    yield graph("From frame to journal", "How long do arbitration and journal take?",
                {"median": quantile(0.5, "tieline_journal_latency_seconds", I, "le"), "99 of 100": quantile(0.99, "tieline_journal_latency_seconds", I, "le")}, "s")
    yield graph("Room on the data disk", "Does the disk fill?",
                {"free": f"min(tieline_data_disk_free_bytes{{{I}}})"}, "bytes")


def sink():
    yield graph("Events a second", "How much has it acknowledged, and what could it never take?",
                {"acknowledged": f"sum(rate(tieline_events_delivered_total{{{S}}}[$__rate_interval]))",
                 "parked": f"sum(rate(tieline_events_parked_total{{{S}}}[$__rate_interval]))",
                 "refused": f"sum(rate(tieline_events_refused_total{{{S}}}[$__rate_interval]))",
                 "filtered": f"sum(rate(tieline_events_filtered_total{{{S}}}[$__rate_interval]))"}, "cps")
    yield graph("From frame to acknowledgement, and from journal to it", "How long does it take, and is it the sink?",
                {"frame, median": quantile(0.5, "tieline_delivery_seconds", S, "le"), "frame, 99 of 100": quantile(0.99, "tieline_delivery_seconds", S, "le"),
                 "journal, 99 of 100": quantile(0.99, "tieline_acknowledgement_seconds", S, "le")}, "s")
    yield graph("Failures in an hour", "What did it do when it failed as a whole? 0 and 1: whether it is connected.",
                {"{{kind}}": f"sum by (kind) (increase(tieline_sink_failures_total{{{S}}}[1h]))", "connected": f"min(tieline_sink_connected{{{S}}})"})


    yield graph("Brokers", "Which can be reached? 0 for a sink whose library does not say.",
                {"{{state}}": f"sum by (state) (tieline_brokers{{{S}}})", "requests under way": f"sum(tieline_broker_requests{{{S}}})",
                 "sent again, in an hour": f"sum(increase(tieline_broker_retries_total{{{S}}}[1h]))"})
    yield graph("The slowest broker's round trip", "What do 99 of 100 requests to it take at most?",
                {"round trip": f"max(tieline_broker_round_trip_seconds{{{S}}})"}, "s")
    yield graph("In the library's hands", "How close is its queue to its bound, and how much does it send?",
                {"queued": f"sum(tieline_broker_queue_bytes{{{S}}})", "sent a second": f"sum(rate(tieline_broker_sent_bytes_total{{{S}}}[$__rate_interval]))"}, "bytes")


def process():
    job = 'job="tieline",' + I
    yield graph("CPU", "How much of a core?", {"{{instance}}": f"rate(process_cpu_seconds_total{{{job}}}[$__rate_interval])"}, "percentunit")
    yield graph("Memory", "How much is in use?", {"{{instance}}": f"process_resident_memory_bytes{{{job}}}"}, "bytes")
    yield graph("Configuration reloads in an hour", "Was the file read again, and what came of it? 1 where the file has mistakes, so that an older one is in force.",
                {"{{outcome}}": f"sum by (outcome) (increase(tieline_config_reloads_total{{{I}}}[1h]))",
                 "the file is refused": f"max(tieline_config_last_reload_failed{{{I}}})",
                 "keys that wait for a restart": f"max(tieline_config_pending_keys{{{I}}})"})
    what = table.Panel().title("What runs").description("Which version, and where?").datasource(SOURCE).span(8).height(7)
    yield queries(what, {"": f"tieline_build_info{{{I}}}"})


def variable(name, label, query, everything=None):
    chosen = VariableOption(selected=True, text=["All"], value=["$__all"])
    made = dashboard.QueryVariable(name).label(label).query(query).datasource(SOURCE)
    made.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).include_all(True).multi(True).current(chosen)
    return made.all_value(everything) if everything else made


def built():
    board = (dashboard.Dashboard("tieline").uid("tieline").tags(["tieline"]).refresh("10s").time("now-3h", "now").timezone("browser")
             .description("The top row answers: is it live, are we losing anything, whose fault is it. docs/runbook.md says what to do.")
             .with_variable(variable("instance", "Instance", "label_values(tieline_build_info, instance)", ".*"))
             # Without an "all" of its own: Grafana then puts the names in, and the rows below repeat for each.
             .with_variable(variable("sink", "Sink", "label_values(tieline_sink_connected, sink)")))
    for panel in top():
        board.with_panel(panel)
    rows = {"Gaps": gaps, "Sessions": sessions, "Rotation": rotation, "Arbitration": arbitration, "Journal": journal, "Sink $sink": sink, "Process": process}
    for title, panels in rows.items():
        row = dashboard.Row(title)
        board.with_row(row.repeat("sink") if panels is sink else row)
        for panel in panels():
            board.with_panel(panel)
    return JSONEncoder(sort_keys=True, indent=1).encode(board.build()) + "\n"


if __name__ == "__main__":
    text, file = built(), HERE / "tieline.json"
    if "--check" not in sys.argv[1:]:
        file.write_text(text)
    elif json.loads(file.read_text()) != json.loads(text):
        sys.exit(f"{file} is not what dashboards/build.py makes: run make dashboard")
