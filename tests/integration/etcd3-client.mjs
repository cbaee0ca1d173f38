// The features of npm's etcd3 against the members in HOSTS. One line a check; "done" at the end.
//   CA, CERT, KEY: files
import { readFileSync } from 'node:fs';
import { once } from 'node:events';
import { isDeepStrictEqual } from 'node:util';
import { createRequire } from 'node:module';
const require = createRequire(process.env.MODULES + '/');
const { Etcd3, EtcdLeaseInvalidError, EtcdLockFailedError, STMConflictError, NotCampaigningError } = require('etcd3');

const hosts = process.env.HOSTS.split(',');
const options = () => ({
  hosts,
  credentials: { rootCertificate: readFileSync(process.env.CA), certChain: readFileSync(process.env.CERT), privateKey: readFileSync(process.env.KEY) },
});
const client = new Etcd3(options()), other = new Etcd3(options());
const check = (what, got, want = true) =>
  console.log(isDeepStrictEqual(got, want) ? `ok ${what}` : `not ok ${what}: got ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
async function fails(what, kind, fn) {
  try { await fn(); console.log(`not ok ${what}: it succeeds`); }
  catch (e) { check(what, e instanceof kind || `${e.constructor.name}: ${e.message}`); }
}
async function eventually(fn, ms = 10000) {
  for (const end = Date.now() + ms; Date.now() < end; await new Promise(r => setTimeout(r, 50))) if (await fn()) return true;
  return false;
}
const within = (promise, ms = 10000) => Promise.race([promise, new Promise((_, no) => setTimeout(() => no(new Error('nothing happens')), ms).unref())]);
async function part(name, fn) {
  try { await within(fn(), 40000); } catch (e) { console.log(`not ok ${name}: ${e.stack.split('\n').slice(0, 2).join(' ')}`); }
}

await part('put and get', async () => {
  await client.put('foo').value('bar');
  check('get what was put', await client.get('foo').string(), 'bar');
  check('no such key', await client.get('nothing'), null);
  check('exists', [await client.get('foo').exists(), await client.get('nothing').exists()], [true, false]);
  await client.put('n').value(42);
  check('a number', await client.get('n').number(), 42);
  await client.put('j').value(JSON.stringify({ a: [1] }));
  check('JSON', await client.get('j').json(), { a: [1] });
  const raw = Buffer.from([0, 255, 128, 10]);
  await client.put(raw).value(raw);
  check('bytes that are no text, key and value', (await client.get(raw).buffer()).equals(raw));
  check('the previous value', (await client.put('foo').value('baz').getPrevious()).value.toString(), 'bar');
  const before = (await client.get('foo').exec()).kvs[0];
  await client.put('foo').touch();
  const after = (await client.get('foo').exec()).kvs[0];
  check('touch changes the version only', [after.value.toString(), Number(after.version) - Number(before.version)], ['baz', 1]);
  check('an old revision', await client.get('foo').revision(before.create_revision).string(), 'bar');
  check('serializable', await client.get('foo').serializable(true).string(), 'baz');
  const big = 'x'.repeat(900000);
  await client.put('big').value(big);
  check('a large value', (await other.get('big').string()) === big);
});

await part('ranges', async () => {
  for (const [i, k] of ['c', 'a', 'b', 'e', 'd'].entries()) await client.put('r/' + k).value(i);
  check('by prefix', await client.getAll().prefix('r/').strings(), { 'r/a': '1', 'r/b': '2', 'r/c': '0', 'r/d': '4', 'r/e': '3' });
  check('keys', await client.getAll().prefix('r/').keys(), ['r/a', 'r/b', 'r/c', 'r/d', 'r/e']);
  check('count', await client.getAll().prefix('r/').count(), 5);
  check('sorted and limited', await client.getAll().prefix('r/').sort('Value', 'Descend').limit(2).numbers(), { 'r/d': 4, 'r/e': 3 });
  check('sorted by creation', await client.getAll().prefix('r/').sort('Create', 'Ascend').keys(), ['r/c', 'r/a', 'r/b', 'r/e', 'r/d']);
  check('a range', await client.getAll().inRange({ start: 'r/b', end: 'r/d' }).keys(), ['r/b', 'r/c']);
  const rev = (await client.get('r/b').exec()).kvs[0].mod_revision;
  check('by modification', await client.getAll().prefix('r/').minModRevision(rev).keys(), ['r/b', 'r/d', 'r/e']);
  check('by creation', await client.getAll().prefix('r/').maxCreateRevision(rev).keys(), ['r/a', 'r/b', 'r/c']);
  check('all keys', (await client.getAll().keys()).length >= 10);
});

await part('delete', async () => {
  check('one', (await client.delete().key('n')).deleted, '1');
  check('none', (await client.delete().key('n')).deleted, '0');
  check('what was deleted', (await client.delete().prefix('r/').getPrevious()).map(kv => kv.key.toString()).sort(), ['r/a', 'r/b', 'r/c', 'r/d', 'r/e']);
  await client.put('x1').value('1');
  await client.put('x2').value('2');
  check('a range', (await client.delete().inRange({ start: 'x1', end: 'x3' })).deleted, '2');
});

await part('transactions', async () => {
  await client.put('t').value('1');
  const yes = await client.if('t', 'Value', '==', '1').and('absent', 'Version', '==', 0).then(client.put('t').value('2'), client.get('t')).else(client.get('t')).commit();
  check('if: then', [yes.succeeded, yes.responses[1].response_range.kvs[0].value.toString()], [true, '2']);
  const no = await client.if('t', 'Value', '==', '1').then(client.put('t').value('3')).else(client.get('t'), client.delete().key('foo')).commit();
  check('if: else', [no.succeeded, no.responses[0].response_range.kvs[0].value.toString(), no.responses[1].response_delete_range.deleted], [false, '2', '1']);
  const kv = (await client.get('t').exec()).kvs[0];
  for (const [column, op, value, want] of [['Mod', '==', kv.mod_revision, true], ['Create', '<', kv.mod_revision, true], ['Version', '>', 1, true],
    ['Value', '!=', '2', false], ['Mod', '>', kv.mod_revision, false]])
    check(`compare ${column} ${op}`, (await client.if('t', column, op, value).then().commit()).succeeded, want);
  await client.put('sum').value(0);
  const add = c => c.stm({ retries: 50 }).transact(async tx => tx.put('sum').value((await tx.get('sum').number()) + 1));
  await Promise.all(Array.from({ length: 20 }, (_, i) => add(i % 2 ? client : other)));
  check('software transactions that disturb each other', await client.get('sum').number(), 20);
  await fails('one that may not be tried again', STMConflictError, () => client.stm({ retries: 0 }).transact(async tx => {
    await tx.get('sum');
    await other.put('sum').value(-1);
    await tx.put('sum').value(1);
  }));
});

await part('leases', async () => {
  const lease = client.lease(10);
  const id = await lease.grant();
  await lease.put('leased').value('1');
  check('a key has its lease', (await client.get('leased').exec()).kvs[0].lease, id);
  check('time to live', (await client.leaseClient.leaseTimeToLive({ ID: id, keys: true })).keys.map(String), ['leased']);
  check('leases', (await client.leaseClient.leaseLeases()).leases.some(l => l.ID === id));
  check('kept alive', Number((await lease.keepaliveOnce()).TTL), 10);
  await client.put('leased').ignoreLease().value('2');
  check('put ignoring the lease', (await client.get('leased').exec()).kvs[0].lease, id);
  await lease.revoke();
  check('revoked: its keys go', await client.get('leased'), null);
  await fails('a revoked lease', EtcdLeaseInvalidError, () => lease.put('leased').value('3'));
  const short = client.lease(2, { autoKeepAlive: false });
  await short.put('short').value('1');
  check('there as long as its lease', await client.get('short').exists());
  check('expired: its key goes', await eventually(async () => !(await client.get('short').exists())));
  const kept = client.lease(2);
  await kept.put('kept').value('1');
  await within(once(kept, 'keepaliveSucceeded'));
  await new Promise(r => setTimeout(r, 3500));
  check('kept alive in the background', await client.get('kept').exists());
  const lost = within(once(kept, 'lost'));
  await client.leaseClient.leaseRevoke({ ID: await kept.grant() });
  check('the loss is told', (await lost)[0] instanceof EtcdLeaseInvalidError);
});

await part('locks', async () => {
  const held = await client.lock('door').ttl(5).acquire();
  await fails('locked once', EtcdLockFailedError, () => other.lock('door').acquire());
  await held.release();
  let inside = 0, most = 0, entered = 0;
  const enter = async c => {
    for (let done = false; !done;)
      try {
        await c.lock('door').do(async () => {
          most = Math.max(most, ++inside);
          await new Promise(r => setTimeout(r, 10));
          inside--;
          entered++;
        });
        done = true;
      } catch (e) { if (!(e instanceof EtcdLockFailedError)) throw e; await new Promise(r => setTimeout(r, 20)); }
  };
  await Promise.all([client, other, client, other].map(enter));
  check('one at a time', [most, entered], [1, 4]);
});

await part('watches', async () => {
  const heard = [];
  const note = (kind, kv, prev) => heard.push([kind, kv.key.toString(), kv.value.toString(), prev?.value?.toString()]);
  const watcher = await client.watch().prefix('w/').withPreviousKV().create();
  watcher.on('put', (kv, prev) => note('put', kv, prev)).on('delete', (kv, prev) => note('delete', kv, prev));
  await other.put('w/1').value('a');
  await other.put('w/1').value('b');
  await other.put('v').value('not this');
  await other.delete().key('w/1');
  await eventually(() => heard.length >= 3);
  check('puts and deletions, with what was before', heard.map(h => h.slice(0, 3)), [['put', 'w/1', 'a'], ['put', 'w/1', 'b'], ['delete', 'w/1', '']]);
  check('previous values', [heard[1][3], heard[2][3]], ['a', 'b']);
  const start = (await client.get('v').exec()).kvs[0].create_revision;
  const past = [];
  const again = await client.watch().prefix('w/').startRevision(String(Number(start) - 2)).create();
  again.on('put', kv => past.push(kv.value.toString())).on('delete', () => past.push('-'));
  check('from the past', await eventually(() => past.length >= 3) && past, ['a', 'b', '-']);
  const only = [];
  const filtered = await client.watch().key('f').only('delete').create();
  filtered.on('data', r => only.push(...r.events.map(e => e.type)));
  await client.put('f').value('1');
  await client.delete().key('f');
  check('a filter', await eventually(() => only.length >= 1) && only.map(String), ['Delete']);
  const many = await Promise.all(Array.from({ length: 50 }, (_, i) => other.watch().key('m/' + i).create()));
  let told = 0;
  many.forEach(m => m.on('put', () => told++));
  await Promise.all(many.map((_, i) => client.put('m/' + i).value('1')));
  check('fifty watches on a stream', await eventually(() => told === 50));
  await Promise.all([watcher, again, filtered, ...many].map(w => w.cancel()));
  const n = heard.length;
  await client.put('w/2').value('late');
  await client.get('w/2');
  check('a cancelled watch is silent', heard.length, n);
});

await part('elections', async () => {
  const a = client.election('office', 5), b = other.election('office', 5);
  const first = a.campaign('anna');
  await within(once(first, 'elected'));
  check('the first is elected', await b.leader(), 'anna');
  const second = b.campaign('bert');
  const elected = within(once(second, 'elected'), 15000);
  const observer = await other.election('office').observe();
  check('observed', await eventually(() => observer.leader() === 'anna'));
  await first.proclaim('anna 2');
  check('a new proclamation is observed', await eventually(() => observer.leader() === 'anna 2'));
  await first.resign();
  await elected;
  check('after a resignation the next leads', await eventually(() => observer.leader() === 'bert'));
  await fails('who has resigned proclaims nothing', NotCampaigningError, () => first.proclaim('anna 3'));
  await second.resign();
  check('nobody leads', await eventually(() => observer.leader() === undefined));
  await observer.cancel();
});

await part('namespaces', async () => {
  const ns = client.namespace('ns/');
  await ns.put('k').value('inside');
  await client.put('k').value('outside');
  check('keys of their own', [await ns.get('k').string(), await client.get('ns/k').string(), await client.get('k').string()], ['inside', 'inside', 'outside']);
  check('all of it', await ns.getAll().strings(), { k: 'inside' });
  const events = [];
  const w = await ns.watch().prefix('').create();
  w.on('put', kv => events.push(kv.key.toString()));
  await client.put('ns/other').value('1');
  check('watches', await eventually(() => events.length > 0) && events, ['other']);
  await w.cancel();
  check('transactions', (await ns.if('k', 'Value', '==', 'inside').then(ns.put('k').value('2')).commit()).succeeded && await client.get('ns/k').string(), '2');
  await ns.lock('l').do(async () => check('locks', (await client.getAll().prefix('ns/l').count()), 1));
  await ns.delete().all();
  check('delete all of it, and nothing else', [await ns.getAll().count(), await client.get('k').string()], [0, 'outside']);
});

await part('maintenance', async () => {
  check('members', (await client.cluster.memberList({})).members.length, hosts.length);
  const status = await client.maintenance.status();
  check('status', Number(status.raftTerm) > 0 && status.leader !== '0');
  check('no alarms', (await client.maintenance.alarm({ action: 'Get' })).alarms, []);
  const rev = (await client.get('foo').exec()).header.revision;
  await client.kv.compact({ revision: rev });
  // The watch may be made through a member that hears of the compaction a little later.
  for (const host of hosts) {
    const one = new Etcd3({ ...options(), hosts: host });
    await eventually(() => one.get('foo').revision(2).serializable(true).exec().then(() => false, () => true));
    one.close();
  }
  const w = client.watch().key('foo').startRevision('2').watcher();
  const [e] = await within(once(w, 'error').catch(e => [e]));
  check('a watch of compacted history ends', /canceled/.test(e.message) || e.message);
});

client.close();
other.close();
console.log('done');
process.exit(0); // the client's timers may go on for half a minute
