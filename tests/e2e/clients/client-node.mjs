// @kubernetes/client-node against the running cluster: create, list, watch, informer, patch, delete.
import http from 'node:http';
import net from 'node:net';
import { PassThrough, Writable } from 'node:stream';
import * as k8s from '@kubernetes/client-node';

const namespace = process.env.NS;
const check = (what, good, why = '') => console.log(good ? `ok ${what}` : `not ok ${what}: ${why}`);
const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);
const until = async (what, condition, ms = 15000) => {
    const end = Date.now() + ms;
    while (!condition()) {
        if (Date.now() > end) return check(what, false, 'not in time');
        await new Promise((r) => setTimeout(r, 20));
    }
    check(what, true);
};

class Collected extends Writable {
    bytes = Buffer.alloc(0);
    get text() {
        return this.bytes.toString();
    }
    _write(chunk, encoding, done) {
        this.bytes = Buffer.concat([this.bytes, Buffer.from(chunk)]);
        done();
    }
}

const version = await config.makeApiClient(k8s.VersionApi).getCode();
check('the version is read', /^v1\./.test(version.gitVersion), version.gitVersion);

const seen = { add: new Map(), update: new Map(), delete: new Map() };
const informer = k8s.makeInformer(config, `/api/v1/namespaces/${namespace}/configmaps`,
    () => core.listNamespacedConfigMap({ namespace, labelSelector: 'client=node' }), 'client=node');
for (const event of Object.keys(seen)) informer.on(event, (o) => seen[event].set(o.metadata.name, o));
informer.on('error', (e) => e.name === 'AbortError' || console.log('informer:', e.message ?? e));
await informer.start();

const make = (name) => core.createNamespacedConfigMap({ namespace, body: { metadata: { name, labels: { client: 'node' } }, data: { a: '1' } } });
const made = await make('node-a');
check('a config map is created', !!made.metadata.uid && !!made.metadata.resourceVersion);
await until('the informer hears of it', () => seen.add.has('node-a'));
try {
    await make('node-a');
    check('a second one is refused', false, 'it was created');
} catch (e) {
    check('a second one is refused', e.code === 409 && JSON.parse(e.body).reason === 'AlreadyExists', String(e.code));
}
const patched = await core.patchNamespacedConfigMap({ namespace, name: 'node-a', body: [{ op: 'replace', path: '/data/a', value: '2' }] },
    k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.JsonPatch));
check('a JSON patch', patched.data.a === '2');
const merged = await core.patchNamespacedConfigMap({ namespace, name: 'node-a', body: { data: { b: '3' } } },
    k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.MergePatch));
check('a merge patch', merged.data.a === '2' && merged.data.b === '3');
await until('the informer hears of the change', () => seen.update.get('node-a')?.data.b === '3');
const applied = await core.patchNamespacedConfigMap(
    { namespace, name: 'node-ssa', fieldManager: 'client-node', force: true,
      body: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'node-ssa' }, data: { x: 'y' } } },
    k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.ServerSideApply));
check('server-side apply', applied.metadata.managedFields.some((m) => m.manager === 'client-node' && m.operation === 'Apply'));
try {
    const stale = { ...made, data: { a: '9' } };
    await core.replaceNamespacedConfigMap({ namespace, name: 'node-a', body: stale });
    check('a stale update is refused', false, 'it was taken');
} catch (e) {
    check('a stale update is refused', e.code === 409 && JSON.parse(e.body).reason === 'Conflict', String(e.code));
}

const events = [];
const abort = await new k8s.Watch(config).watch(`/api/v1/namespaces/${namespace}/configmaps`,
    { resourceVersion: patched.metadata.resourceVersion, allowWatchBookmarks: true },
    (type, o) => events.push([type, o.metadata.name]), () => {});
await make('node-b');
await until('a watch goes on from a resourceVersion', () =>
    events.some(([t, n]) => t === 'MODIFIED' && n === 'node-a') && events.some(([t, n]) => t === 'ADDED' && n === 'node-b'));
abort.abort();

const page = await core.listNamespacedConfigMap({ namespace, limit: 1, labelSelector: 'client=node' });
check('a list is paged', page.items.length === 1 && !!page.metadata._continue, JSON.stringify(page.metadata));
const rest = await core.listNamespacedConfigMap({ namespace, limit: 10, labelSelector: 'client=node', _continue: page.metadata._continue });
check('and goes on', rest.items.length === 1 && rest.items[0].metadata.name !== page.items[0].metadata.name);

const objects = k8s.KubernetesObjectApi.makeApiClient(config);
const secret = await objects.create({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'node-s', namespace }, stringData: { p: 'q' } });
check('an object of any kind is created', Buffer.from(secret.data.p, 'base64').toString() === 'q');
const deployment = await apps.createNamespacedDeployment({ namespace, body: {
    metadata: { name: 'node-web' },
    spec: { replicas: 1, selector: { matchLabels: { app: 'node-web' } },
        template: { metadata: { labels: { app: 'node-web' } }, spec: { terminationGracePeriodSeconds: 1, containers: [
            { name: 'c', image: process.env.BUSYBOX, command: ['sh', '-c', 'mkdir /www; echo hello >/www/index.html; echo said; exec httpd -f -p 8080 -h /www'] }] } } } } });
check('a deployment is created', deployment.metadata.generation === 1);
let pod;
for (const end = Date.now() + 20000; Date.now() < end && !pod; await new Promise((r) => setTimeout(r, 100))) {
    const pods = await core.listNamespacedPod({ namespace, labelSelector: 'app=node-web', fieldSelector: 'status.phase=Running' });
    pod = pods.items[0];
}
check('its pod runs', !!pod);
if (pod) {
    const name = pod.metadata.name;
    check('its log is read', (await core.readNamespacedPodLog({ namespace, name })) === 'said\n');
    const log = new Collected();
    const following = await new k8s.Log(config).log(namespace, name, 'c', log, { follow: true, tailLines: 1, timestamps: true });
    await until('and followed', () => /^\d{4}-.*Z said\n$/.test(log.text));
    following.abort();
    const out = new Collected(), err = new Collected(), input = new PassThrough();
    input.write('typed\n'); /* and not ended: this client would hang up */
    const status = await new Promise((resolve) => new k8s.Exec(config).exec(namespace, name, 'c',
        ['sh', '-c', 'read x; echo $x; echo wrong >&2; exit 3'], out, err, input, false, resolve));
    check('exec has input, output and errors', out.text === 'typed\n' && err.text === 'wrong\n', JSON.stringify([out.text, err.text]));
    check('and tells the exit code', status.status === 'Failure' && status.details.causes.some((c) => c.reason === 'ExitCode' && c.message === '3'), JSON.stringify(status));
    const forward = new k8s.PortForward(config);
    const server = net.createServer((socket) => forward.portForward(namespace, name, [8080], socket, null, socket));
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    const answer = await new Promise((resolve, reject) => http.get({ port: server.address().port, path: '/', timeout: 5000 }, (r) => {
        let text = '';
        r.on('data', (d) => (text += d)).on('end', () => resolve(text));
    }).on('error', reject));
    check('port-forward carries a request', answer === 'hello\n', JSON.stringify(answer));
    server.close();
    const copied = new Collected();
    await new Promise((resolve) => new k8s.Exec(config).exec(namespace, name, 'c', ['tar', 'cf', '-', '-C', '/www', 'index.html'], copied, null, null, false, resolve));
    check('binary output is whole', copied.bytes.length % 512 === 0 && copied.text.includes('hello'), copied.bytes.length);
}
const scale = await apps.readNamespacedDeploymentScale({ namespace, name: 'node-web' });
check('its scale is read', scale.spec.replicas === 1 && scale.status.selector === 'app=node-web', JSON.stringify(scale));
await apps.deleteNamespacedDeployment({ namespace, name: 'node-web', propagationPolicy: 'Background' });
check('it is deleted', !(await apps.listNamespacedDeployment({ namespace })).items.length);
await core.deleteNamespacedConfigMap({ namespace, name: 'node-a' });
await until('the informer hears of a deletion', () => seen.delete.has('node-a'));
check('its cache has what is there', informer.list().map((o) => o.metadata.name).join() === 'node-b', informer.list().length);
await informer.stop();

// A definition of our own, and its objects.
const group = 'node.clients.example.com', plural = 'ships';
const definitions = config.makeApiClient(k8s.ApiextensionsV1Api);
const custom = config.makeApiClient(k8s.CustomObjectsApi);
const definition = await definitions.createCustomResourceDefinition({ body: {
    metadata: { name: `${plural}.${group}` },
    spec: { group, scope: 'Namespaced', names: { plural, kind: 'Ship' }, versions: [{ name: 'v1', served: true, storage: true,
        subresources: { status: {} },
        schema: { openAPIV3Schema: { type: 'object', properties: {
            spec: { type: 'object', required: ['masts'], properties: { masts: { type: 'integer', minimum: 1 }, flag: { type: 'string', _default: 'none' } } },
            status: { type: 'object', properties: { afloat: { type: 'boolean' } } } } } } }] } } });
check('a definition is created', definition.spec.names.listKind === 'ShipList');
let established;
for (const end = Date.now() + 10000; Date.now() < end && !established; await new Promise((r) => setTimeout(r, 100)))
    established = (await definitions.readCustomResourceDefinitionStatus({ name: `${plural}.${group}` })).status.conditions?.some((c) => c.type === 'Established' && c.status === 'True');
check('and established', established);
const ships = new Map();
const shipInformer = k8s.makeInformer(config, `/apis/${group}/v1/namespaces/${namespace}/${plural}`,
    () => custom.listNamespacedCustomObject({ group, version: 'v1', namespace, plural }));
for (const event of ['add', 'update']) shipInformer.on(event, (o) => ships.set(o.metadata.name, o));
shipInformer.on('delete', (o) => ships.delete(o.metadata.name));
shipInformer.on('error', (e) => e.name === 'AbortError' || console.log('informer:', e.message ?? e));
await shipInformer.start();
const at = { group, version: 'v1', namespace, plural };
const ship = await custom.createNamespacedCustomObject({ ...at, body: { apiVersion: `${group}/v1`, kind: 'Ship', metadata: { name: 'argo' }, spec: { masts: 1, sails: 9 } } });
check('a custom object is pruned and defaulted', ship.spec.flag === 'none' && ship.spec.sails === undefined, JSON.stringify(ship.spec));
await until('an informer hears of it', () => ships.get('argo')?.spec.masts === 1);
await custom.patchNamespacedCustomObjectStatus({ ...at, name: 'argo', body: { status: { afloat: true } } }, k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.MergePatch));
await until('and of its status', () => ships.get('argo')?.status?.afloat === true);
try {
    await custom.patchNamespacedCustomObject({ ...at, name: 'argo', body: { spec: { masts: 0 } } }, k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.MergePatch));
    check('its schema holds', false, 'it was taken');
} catch (e) {
    check('its schema holds', e.code === 422, String(e.code));
}
await definitions.deleteCustomResourceDefinition({ name: `${plural}.${group}` });
await until('they go with the definition', () => ships.size === 0);
await shipInformer.stop();
console.log('done');
process.exit(0);
