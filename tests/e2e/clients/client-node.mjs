// @kubernetes/client-node against the running cluster: create, list, watch, informer, patch, delete.
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
            { name: 'c', image: process.env.BUSYBOX, command: ['sh', '-c', 'echo said; exec sleep 1000'] }] } } } } });
check('a deployment is created', deployment.metadata.generation === 1);
let pod;
for (const end = Date.now() + 20000; Date.now() < end && !pod; await new Promise((r) => setTimeout(r, 100))) {
    const pods = await core.listNamespacedPod({ namespace, labelSelector: 'app=node-web', fieldSelector: 'status.phase=Running' });
    pod = pods.items[0];
}
check('its pod runs', !!pod);
if (pod) check('its log is read', (await core.readNamespacedPodLog({ namespace, name: pod.metadata.name })) === 'said\n');
const scale = await apps.readNamespacedDeploymentScale({ namespace, name: 'node-web' });
check('its scale is read', scale.spec.replicas === 1 && scale.status.selector === 'app=node-web', JSON.stringify(scale));
await apps.deleteNamespacedDeployment({ namespace, name: 'node-web', propagationPolicy: 'Background' });
check('it is deleted', !(await apps.listNamespacedDeployment({ namespace })).items.length);
await core.deleteNamespacedConfigMap({ namespace, name: 'node-a' });
await until('the informer hears of a deletion', () => seen.delete.has('node-a'));
check('its cache has what is there', informer.list().map((o) => o.metadata.name).join() === 'node-b', informer.list().length);
await informer.stop();
console.log('done');
process.exit(0);
