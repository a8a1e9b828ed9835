/** The one style sheet, for light and dark screens. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --ground: #f3f6fa; --card: #fff; --line: #dfe6ee; --text: #14202c; --dim: #5c6b7a; --accent: #0f6fae; --accent-text: #fff;
  --run: #168a5b; --ice: #0b84b5; --wait: #7a8794; --bad: #c2352b; --warn: #a86400;
  --soft: 12%; --shadow: 0 1px 2px rgb(20 40 60 / 6%), 0 4px 16px rgb(20 40 60 / 5%);
  --mono: ui-monospace, 'SF Mono', 'Cascadia Code', 'DejaVu Sans Mono', monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #0b1118; --card: #131c26; --line: #233140; --text: #e4ecf3; --dim: #8fa1b2; --accent: #4cb4ea; --accent-text: #06202f;
    --run: #43c791; --ice: #53bdea; --wait: #94a3b2; --bad: #ff7b70; --warn: #e6ab4f; --soft: 18%; --shadow: none;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); font: 15px/1.5 system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif; font-variant-numeric: tabular-nums; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 4px; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0; letter-spacing: -.01em; }
h2 { font-size: .8rem; text-transform: uppercase; letter-spacing: .07em; color: var(--dim); margin: 0 0 .75rem; font-weight: 600; }
* + h2 { margin-top: 1.75rem; }
h3 { font-size: 1rem; margin: 0; overflow-wrap: anywhere; }
p { margin: .25rem 0; }
code, pre, .id, .key { font-family: var(--mono); font-size: .86em; }
code { overflow-wrap: anywhere; }
.dim, .empty { color: var(--dim); }
.warn { color: var(--warn); }
.hidden { position: absolute; clip-path: inset(50%); width: 1px; height: 1px; overflow: hidden; }
.name { unicode-bidi: isolate; overflow-wrap: anywhere; }
.number { text-align: right; white-space: nowrap; }

.top { display: flex; align-items: center; gap: 1.5rem; padding: .65rem clamp(1rem, 3vw, 2.5rem); background: var(--card); border-bottom: 1px solid var(--line); position: sticky; top: 0; z-index: 1; }
.brand { display: flex; align-items: center; gap: .6rem; color: var(--text); font-weight: 650; font-size: 1.1rem; letter-spacing: -.01em; }
.top nav { display: flex; gap: 1.25rem; flex: 1; }
.who { display: flex; align-items: center; gap: .75rem; }
.role { color: var(--dim); font-size: .85rem; }
.stale-note { display: none; color: var(--bad); font-size: .85rem; }
.stale .stale-note { display: inline; }
main { max-width: 1500px; margin: 0 auto; padding: 1.25rem clamp(1rem, 3vw, 2.5rem) 4rem; display: grid; gap: 1.25rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 1.15rem 1.3rem; box-shadow: var(--shadow); min-width: 0; }
.columns { display: grid; gap: 1.25rem; grid-template-columns: minmax(0, 1.75fr) minmax(0, 1fr); align-items: start; }
.stack { display: grid; gap: 1.25rem; min-width: 0; }
@media (max-width: 1000px) { .columns { grid-template-columns: minmax(0, 1fr); } }
.row { display: flex; align-items: center; justify-content: space-between; gap: .75rem; }

.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); gap: 1px; background: var(--line); border: 1px solid var(--line); border-radius: 12px; overflow: hidden; box-shadow: var(--shadow); }
.figure { background: var(--card); padding: .8rem 1.2rem; }
.figure b { display: block; font-size: 1.45rem; line-height: 1.3; font-weight: 600; letter-spacing: -.02em; white-space: nowrap; }
.figure span { color: var(--dim); font-size: .85rem; }
.figure.running b { color: var(--run); } .figure.failed b { color: var(--bad); }

.badge { display: inline-block; padding: .05rem .55rem; border-radius: 99px; font-size: .78rem; font-weight: 600; white-space: nowrap; vertical-align: middle; letter-spacing: 0; color: var(--tone, var(--wait)); background: color-mix(in srgb, var(--tone, var(--wait)) var(--soft), transparent); }
.badge.running, .badge.ready { --tone: var(--run); } .badge.succeeded { --tone: var(--run); }
.badge.freezing, .badge.frozen, .badge.thawing { --tone: var(--ice); }
.badge.failed { --tone: var(--bad); } .badge.draining { --tone: var(--warn); }
.badge.freezing::before, .badge.thawing::before, .badge.running::before { content: ''; display: inline-block; width: .45em; height: .45em; border-radius: 50%; background: currentColor; margin-right: .4em; vertical-align: .1em; animation: pulse 1.6s ease-in-out infinite; }
@keyframes pulse { 50% { opacity: .25; } }
@media (prefers-reduced-motion: reduce) { .badge::before { animation: none !important; } }

.workers { display: grid; grid-template-columns: repeat(auto-fill, minmax(290px, 1fr)); gap: .9rem; }
.worker { border: 1px solid var(--line); border-radius: 10px; padding: .85rem 1rem; display: flex; flex-direction: column; gap: .45rem; }
.worker > .row:last-child { margin-top: auto; }
.worker p { margin: 0; font-size: .87rem; overflow-wrap: anywhere; }
.worker .dim { font-size: .82rem; }
.worker.draining { border-color: color-mix(in srgb, var(--warn) 55%, transparent); }
.slots { display: flex; gap: 4px; }
.slots i { height: 8px; flex: 1; max-width: 48px; border-radius: 3px; background: var(--line); }
.slots i.used { background: var(--run); }
.notice { background: color-mix(in srgb, var(--warn) var(--soft), transparent); color: var(--warn); padding: .4rem .7rem; border-radius: 7px; }

.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th { text-align: left; color: var(--dim); font-weight: 500; font-size: .8rem; padding: 0 .9rem .4rem 0; white-space: nowrap; }
th.number { text-align: right; }
td { padding: .5rem .9rem .5rem 0; border-top: 1px solid var(--line); vertical-align: top; }
th:last-child, td:last-child { padding-right: 0; }
.jobs td:first-child { width: 6.5rem; } .jobs .name { font-weight: 550; color: var(--text); } .jobs .id { color: var(--dim); }
.note td { border: 0; padding-top: 0; color: var(--warn); font-size: .85rem; }
.env td { border: 0; padding: .1rem .8rem .1rem 0; }

.progress { display: grid; gap: .2rem; margin-top: .35rem; font-size: .85rem; }
progress { appearance: none; width: 100%; height: 6px; border: 0; border-radius: 3px; background: var(--line); overflow: hidden; }
progress::-webkit-progress-bar { background: var(--line); }
progress::-webkit-progress-value { background: var(--ice); border-radius: 3px; }
progress::-moz-progress-bar { background: var(--ice); border-radius: 3px; }

.events { list-style: none; margin: 0; padding: 0; font-size: .88rem; max-height: 44rem; overflow-y: auto; }
.events li { display: grid; grid-template-columns: 4.9rem 1fr; gap: .6rem; padding: .42rem 0 .42rem .8rem; border-left: 3px solid var(--tone, var(--line)); margin-bottom: 2px; overflow-wrap: anywhere; }
.events .when { color: var(--dim); white-space: nowrap; }
.events .started, .events .succeeded { --tone: var(--run); }
.events .frozen, .events .thawed, .events .freezing, .events .checkpointed { --tone: var(--ice); }
.events .crashed, .events .failed, .events .freezeFailed, .events .stopped, .events .attemptFailed, .events .passedOver { --tone: var(--bad); }

.job-head { display: flex; justify-content: space-between; align-items: start; gap: 1rem; flex-wrap: wrap; }
.job-head .id { color: var(--dim); }
.actions { display: flex; gap: .6rem; }
.timeline { margin-bottom: 1.25rem; display: grid; gap: .35rem; }
.lane { display: grid; grid-template-columns: 9rem minmax(0, 1fr); gap: .9rem; align-items: center; }
.lane-name { font-size: .87rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.lane svg { display: block; }
.lane-back { fill: color-mix(in srgb, var(--line) 55%, transparent); }
.bar.ran { fill: var(--run); } .bar.thaw { fill: var(--ice); } .bar.crashed { fill: var(--bad); }
.legend { display: flex; gap: 1.1rem; }
.legend i { display: inline-block; width: .75em; height: .75em; border-radius: 2px; margin-right: .4em; }
.legend .ran { background: var(--run); } .legend .thaw { background: var(--ice); } .legend .crashed { background: var(--bad); }
.axis .ends { display: flex; justify-content: space-between; color: var(--dim); font-size: .8rem; }
.log { max-height: 24rem; overflow: auto; display: flex; flex-direction: column-reverse; background: var(--ground); border-radius: 8px; padding: .7rem .9rem; margin: .35rem 0 1rem; }
.log pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.45; }
#logs h3 { font-size: .85rem; color: var(--dim); font-weight: 500; }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) minmax(0, 1fr); gap: .4rem 1.2rem; margin: 0; font-size: .9rem; }
dt { color: var(--dim); } dd { margin: 0; min-width: 0; }
.kept { list-style: none; margin: 0; padding: 0; display: grid; gap: .7rem; font-size: .9rem; }
.key { color: var(--dim); }

button { white-space: nowrap; font: inherit; font-size: .9rem; font-weight: 550; padding: .4rem .95rem; border-radius: 8px; border: 1px solid var(--line); background: var(--card); color: var(--text); cursor: pointer; }
button:hover:not(:disabled) { border-color: var(--accent); }
button:disabled { opacity: .6; cursor: default; }
button.primary { background: var(--accent); border-color: var(--accent); color: var(--accent-text); padding: .6rem; }
button.danger { color: var(--bad); border-color: color-mix(in srgb, var(--bad) 45%, transparent); }
button.danger:hover:not(:disabled) { background: color-mix(in srgb, var(--bad) var(--soft), transparent); border-color: var(--bad); }
button.quiet { border-color: transparent; background: none; color: var(--dim); padding: .15rem .5rem; font-weight: 450; font-size: .85rem; }
.login { width: min(23rem, 100%); margin: 14vh auto 0; padding: 2.2rem; text-align: center; }
.login h1 { margin-top: .6rem; }
.login p { text-wrap: balance; }
.login form { display: grid; gap: .55rem; text-align: left; margin-top: 1.5rem; }
.login label { font-size: .87rem; color: var(--dim); }
.login input { font: inherit; padding: .55rem .75rem; border-radius: 8px; border: 1px solid var(--line); background: var(--ground); color: var(--text); margin-bottom: .4rem; }
.problem { color: var(--bad); font-size: .9rem; margin: 0 0 .3rem; }
.message { max-width: 40rem; margin: 10vh auto 0; }
.message h1 { margin-bottom: .6rem; }
@media (max-width: 640px) {
  .top { gap: .9rem; flex-wrap: wrap; } .role { display: none; }
  .scroll table { min-width: 36rem; }
  .lane { grid-template-columns: minmax(0, 1fr); gap: .15rem; } .lane.axis > :first-child { display: none; }
  .legend { gap: .6rem; }
}
`;
