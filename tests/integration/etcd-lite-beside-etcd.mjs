// The same requests to etcd and to etcd-lite, fixed and random ones; every answer must be the same.
//   node etcd-lite-beside-etcd.mjs ETCD_PORT ETCD_LITE_PORT [SEED]
import http from 'node:http';

const [etcdPort, ourPort, seedText] = process.argv.slice(2);
const seed = Number(seedText ?? Date.now() % 100000);
const agent = new http.Agent({ keepAlive: true });

function post(port, path, body) {
    return new Promise((resolve, reject) => {
        const req = http.request({ host: '127.0.0.1', port, path, method: 'POST', agent }, (res) => {
            let text = '';
            res.on('data', (d) => (text += d));
            res.on('end', () => resolve([res.statusCode, text]));
        });
        req.on('error', reject);
        req.end(typeof body === 'string' ? body : JSON.stringify(body));
    });
}

// What must differ between two clusters is taken out; members are sorted.
function normal(v) {
    if (Array.isArray(v)) return v.map(normal);
    if (v === null || typeof v !== 'object') return v;
    const skip = ['cluster_id', 'member_id', 'raft_term'];
    return Object.fromEntries(Object.keys(v).filter((k) => !skip.includes(k)).sort().map((k) => [k, normal(v[k])]));
}
function comparable([status, text], how) {
    if (status === 412) status = 400; // gateways of etcd before 3.5 map FailedPrecondition so
    if (how === 'status') return String(status);
    try {
        const answer = JSON.parse(text);
        if (how === 'headless') delete answer.header; // etcd before 3.5 sends none here
        return status + ' ' + JSON.stringify(normal(answer));
    } catch {
        return status + ' ' + text;
    }
}

// mulberry32
let state = seed;
function random() {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}
const int = (low, high) => low + Math.floor(random() * (high - low + 1));
const pick = (list) => list[int(0, list.length - 1)];
const maybe = (p) => random() < p;
const b64 = (s) => Buffer.from(s).toString('base64');

const key = () => b64(pick(['a', 'aa', 'b', 'ba', 'c', 'd']));
const end = () => pick(['', b64('\0'), key()]);
const revision = () => pick([0, 0, 0, int(1, 600)]);
const value = () => b64(String(int(0, 5)));
const times = (n, f) => Array.from({ length: n }, f);

function range() {
    const r = { key: key(), range_end: end() };
    if (maybe(0.5)) Object.assign(r, { limit: int(0, 3), sort_order: int(0, 2), sort_target: int(0, 4) });
    if (maybe(0.2)) r.revision = revision();
    if (maybe(0.2)) r.keys_only = true;
    if (maybe(0.1)) r.count_only = true;
    if (maybe(0.1)) r.min_mod_revision = revision();
    if (maybe(0.1)) r.max_create_revision = revision();
    if (maybe(0.1)) r.serializable = true;
    return r;
}
const put = () => ({ key: key(), value: value(), prev_kv: maybe(0.3), ignore_value: maybe(0.05), lease: maybe(0.1) ? pick([0, 1000, 1001]) : 0 });
const del = () => ({ key: key(), range_end: maybe(0.3) ? end() : '', prev_kv: maybe(0.5) });
function compare() {
    const target = int(0, 4);
    const c = { key: key(), target, result: int(0, 3) };
    Object.assign(c, [{ version: int(0, 3) }, { create_revision: revision() }, { mod_revision: revision() }, { value: value() }, { lease: int(0, 1) }][target]);
    if (maybe(0.2)) c.range_end = end();
    return c;
}
function operation(depth) {
    const x = random();
    if (x < 0.3) return { request_range: range() };
    if (x < 0.7) return { request_put: put() };
    if (x < 0.85 || depth > 1) return { request_delete_range: del() };
    return { request_txn: txn(depth + 1) };
}
function txn(depth = 0) {
    return {
        compare: times(int(0, 2), compare),
        success: times(int(0, 3), () => operation(depth)),
        failure: times(int(0, 3), () => operation(depth)),
    };
}
function anything() {
    const x = random();
    if (x < 0.3) return ['/v3/kv/range', range()];
    if (x < 0.55) return ['/v3/kv/put', put()];
    if (x < 0.65) return ['/v3/kv/deleterange', del()];
    if (x < 0.95) return ['/v3/kv/txn', txn()];
    if (x < 0.97) return ['/v3/kv/compaction', { revision: int(1, 500) }];
    if (x < 0.98) return ['/v3/lease/revoke', { ID: pick([1000, 1001]) }];
    return ['/v3/lease/grant', { ID: pick([1000, 1001]), TTL: 100 }];
}

const a = b64('a');
const fixed = [
    ['/v3/kv/range', { key: b64('zz') }],
    ['/v3/kv/put', { key: a, value: b64('1') }],
    ['/v3/kv/put', { key: a, value: b64('2'), prev_kv: true }],
    ['/v3/kv/put', { key: b64('q'), ignore_value: true }],
    ['/v3/kv/put', { key: a, value: b64('x'), ignore_value: true }],
    ['/v3/kv/put', { key: a, lease: '99' }],
    ['/v3/kv/put', {}],
    ['/v3/kv/range', {}],
    ['/v3/kv/range', { key: a, revision: '1' }],
    ['/v3/kv/range', { key: a, revision: 100 }],
    ['/v3/kv/range', { key: a, revision: -5 }],
    ['/v3/kv/range', { key: a, limit: -1 }],
    ['/v3/kv/range', { key: a, rangeEnd: b64('b'), countOnly: true, limit: 1 }],
    ['/v3/kv/range', { key: b64('b'), range_end: a }],
    ['/v3/kv/range', { key: a, unheardOf: [{ x: 1 }, null] }],
    ['/v3/kv/range', '{"key"', 'status'],
    ['/v3/kv/range', ''],
    ['/v3/kv/range', '[]', 'status'],
    ['/v3/kv/range', { key: 5 }, 'status'],
    ['/v3/kv/range', { key: '!!' }, 'status'],
    ['/v3/nothing', {}, 'status'],
    ['/v3/kv/deleterange', { key: b64('none') }],
    ['/v3/kv/deleterange', {}],
    ['/v3/kv/compaction', { revision: '100' }],
    ['/v3/lease/grant', { TTL: '100', ID: '7' }],
    ['/v3/lease/grant', { TTL: '0', ID: '8' }],
    ['/v3/lease/grant', { TTL: '1', ID: '9' }],
    ['/v3/lease/grant', { TTL: '99000000000', ID: '10' }],
    ['/v3/kv/put', { key: b64('l'), value: b64('1'), lease: '7' }],
    ['/v3/kv/range', { key: b64('l') }],
    ['/v3/lease/timetolive', { ID: '77', keys: true }],
    ['/v3/kv/lease/timetolive', { ID: '77' }],
    ['/v3/lease/keepalive', { ID: '7' }],
    ['/v3/lease/keepalive', { ID: '777' }],
    ['/v3/lease/revoke', { ID: '7' }],
    ['/v3/lease/revoke', { ID: '7' }],
    ['/v3/kv/range', { key: b64('l') }],
    ['/v3/maintenance/alarm', {}, 'headless'],
    ['/v3/kv/txn', {}],
    ['/v3/kv/txn', { success: [{}] }],
    ['/v3/kv/txn', { compare: [{}] }],
    ['/v3/kv/txn', { compare: [{ key: a, target: 'WHAT' }] }, 'status'],
    ['/v3/kv/txn', { success: [{ request_put: { key: a } }, { request_put: { key: a } }] }],
    ['/v3/kv/txn', { success: [{ request_put: { key: a } }, { request_delete_range: { key: a } }] }],
    ['/v3/kv/txn', { success: [{ request_put: { key: a } }, { request_delete_range: { key: b64('0'), range_end: b64('\0') } }] }],
    ['/v3/kv/txn', { success: [{ request_put: { key: a, lease: '5' } }] }],
    ['/v3/kv/txn', { success: [{ request_range: { key: a, revision: '1000' } }] }],
    ['/v3/kv/txn', { success: times(129, () => ({ request_range: { key: a } })) }],
];

let passed = 0, failed = 0;
async function same([path, body, only]) {
    const [theirs, ours] = (await Promise.all([post(etcdPort, path, body), post(ourPort, path, body)])).map((r) => comparable(r, only));
    if (theirs === ours) {
        passed++;
    } else if (++failed <= 10) {
        console.log(`FAILED: ${path} ${JSON.stringify(body)}\n  etcd: ${theirs.slice(0, 600)}\n  ours: ${ours.slice(0, 600)}`);
    }
}
console.log(`seed ${seed}`);
for (const r of fixed) await same(r);
for (let i = 0; i < 2000; i++) await same(anything());
agent.destroy();
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
