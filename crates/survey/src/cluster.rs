//! What the target cluster shows.

use std::collections::BTreeMap;
use std::time::Duration;

use rehome_model::cluster::{
    ClaimReport, ClaimTemplateReport, ClusterReport, ContainerReport, EnvValue, NamespaceReport, NodeReport,
    PermissionReport, PersistentVolumeReport, ServiceReport, StatefulSetReport, StorageClassReport, VolumeMount,
};
use rehome_model::fingerprint::fingerprint;
use rehome_model::ids::{InstanceId, Zone};
use serde_json::{Value, json};

use crate::error::SurveyError;
use crate::expansion::expanded;
use crate::permissions::PERMISSIONS;
use crate::placement::{placement, taints};

/// Objects in one page of a list.
const PAGE: u32 = 500;
/// How long one request to the apiserver may take.
const REQUEST: Duration = Duration::from_secs(20);
/// How often a request is sent that the apiserver has no time for.
const ATTEMPTS: u32 = 4;
/// Between two of them.
const RETRY: Duration = Duration::from_secs(1);

/// Looks at the cluster.
pub async fn cluster(
    client: &kube::Client,
    namespace: &str,
    driver: &str,
    sets: &[String],
) -> Result<ClusterReport, SurveyError> {
    let api = Api { client, driver };
    let version = api.get("/version").await?.unwrap_or_default();
    let in_namespace = |group: &str, plural: &str| format!("/{group}/namespaces/{namespace}/{plural}");
    let config_maps = api.list(&in_namespace("api/v1", "configmaps")).await?;
    let mut found_sets = Vec::new();
    for set in sets {
        let path = format!("{}/{set}", in_namespace("apis/apps/v1", "statefulsets"));
        if let Some(object) = api.get(&path).await? {
            found_sets.push(read_set(&object, &config_maps));
        }
    }
    let autoscalers = api.list(&in_namespace("apis/autoscaling/v2", "horizontalpodautoscalers")).await?;
    Ok(ClusterReport {
        version: text(&version, "/gitVersion"),
        nodes: api.nodes().await?,
        csi_drivers: names(&api.list("/apis/storage.k8s.io/v1/csidrivers").await?),
        storage_classes: api.list("/apis/storage.k8s.io/v1/storageclasses").await?.iter().map(read_class).collect(),
        namespace: api.get(&format!("/api/v1/namespaces/{namespace}")).await?.map(|object| read_namespace(&object)),
        sets: found_sets,
        services: api.list(&in_namespace("api/v1", "services")).await?.iter().map(read_service).collect(),
        claims: api.list(&in_namespace("api/v1", "persistentvolumeclaims")).await?.iter().map(read_claim).collect(),
        volumes: api.list("/api/v1/persistentvolumes").await?.iter().map(read_volume).collect(),
        autoscaled: autoscalers
            .iter()
            .map(|hpa| format!("{}/{}", text(hpa, "/spec/scaleTargetRef/kind"), text(hpa, "/spec/scaleTargetRef/name")))
            .collect(),
        permissions: api.permissions(namespace).await?,
    })
}

struct Api<'a> {
    client: &'a kube::Client,
    driver: &'a str,
}

impl Api<'_> {
    async fn send(&self, method: &str, path: &str, body: Vec<u8>) -> Result<Option<Value>, SurveyError> {
        let failed = |message: String| SurveyError::Cluster { what: path.to_owned(), message };
        let mut attempt = 1;
        loop {
            let request = http::Request::builder()
                .method(method)
                .uri(path)
                .header("content-type", "application/json")
                .body(body.clone())
                .map_err(|error| failed(error.to_string()))?;
            let message = match tokio::time::timeout(REQUEST, self.client.request::<Value>(request)).await {
                Ok(Ok(object)) => return Ok(Some(object)),
                Ok(Err(kube::Error::Api(status))) if status.code == 404 => return Ok(None),
                Ok(Err(kube::Error::Api(status))) if matches!(status.code, 429 | 503 | 504) => status.message.clone(),
                Ok(Err(kube::Error::Api(status))) => return Err(failed(status.message.clone())),
                Ok(Err(error)) => return Err(failed(rehome_ports::with_causes(&error))),
                Err(_) => format!("no answer within {} s", REQUEST.as_secs()),
            };
            // Nothing that is sent here changes anything.
            if attempt == ATTEMPTS {
                return Err(failed(message));
            }
            attempt += 1;
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn get(&self, path: &str) -> Result<Option<Value>, SurveyError> {
        self.send("GET", path, Vec::new()).await
    }

    /// All objects of a collection, page by page. A collection that the cluster does not have is empty.
    async fn list(&self, path: &str) -> Result<Vec<Value>, SurveyError> {
        let mut all = Vec::new();
        let mut next = String::new();
        loop {
            let page = self.get(&format!("{path}?limit={PAGE}{next}")).await?.unwrap_or_default();
            all.extend(page["items"].as_array().cloned().unwrap_or_default());
            match page["metadata"]["continue"].as_str() {
                // The token is base64url: nothing in it needs escaping.
                Some(token) if !token.is_empty() => next = format!("&continue={token}"),
                _ => return Ok(all),
            }
        }
    }

    async fn nodes(&self) -> Result<Vec<NodeReport>, SurveyError> {
        let csi_nodes = self.list("/apis/storage.k8s.io/v1/csinodes").await?;
        let attachments = self.list("/apis/storage.k8s.io/v1/volumeattachments").await?;
        let read = |node: &Value| {
            let name = text(node, "/metadata/name");
            let csi_node = csi_nodes.iter().find(|found| text(found, "/metadata/name") == name);
            let driver = csi_node.and_then(|found| {
                array(found, "/spec/drivers").iter().find(|driver| text(driver, "/name") == self.driver)
            });
            let on_it =
                |found: &&Value| text(found, "/spec/nodeName") == name && text(found, "/spec/attacher") == self.driver;
            NodeReport {
                zone: Some(text(node, "/metadata/labels/topology.kubernetes.io~1zone"))
                    .filter(|zone| !zone.is_empty())
                    .map(Zone),
                instance: ec2_instance(&text(node, "/spec/providerID")),
                kernel: text(node, "/status/nodeInfo/kernelVersion"),
                ready: array(node, "/status/conditions").iter().any(|c| c["type"] == "Ready" && c["status"] == "True"),
                schedulable: node["spec"]["unschedulable"] != true,
                taints: taints(node),
                labels: map(node, "/metadata/labels"),
                attach_limit: driver
                    .and_then(|driver| driver["allocatable"]["count"].as_u64())
                    .map(|count| count as u32),
                attached: attachments.iter().filter(on_it).count() as u32,
                name,
            }
        };
        Ok(self.list("/api/v1/nodes").await?.iter().map(read).collect())
    }

    async fn permissions(&self, namespace: &str) -> Result<Vec<PermissionReport>, SurveyError> {
        let mut reports = Vec::new();
        for permission in PERMISSIONS {
            let mut attributes = json!({
                "verb": permission.verb, "group": permission.group, "resource": permission.resource,
                "subresource": permission.subresource,
            });
            if permission.namespaced {
                attributes["namespace"] = json!(namespace);
            }
            let review = json!({
                "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": attributes},
            });
            let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
            let answer = self.send("POST", path, review.to_string().into_bytes()).await?.unwrap_or_default();
            let mut resource = permission.resource.to_owned();
            for (prefix, part) in [(true, permission.group), (false, permission.subresource)] {
                if !part.is_empty() {
                    resource = if prefix { format!("{part}/{resource}") } else { format!("{resource}/{part}") };
                }
            }
            reports.push(PermissionReport {
                verb: permission.verb.to_owned(),
                resource,
                namespace: permission.namespaced.then(|| namespace.to_owned()),
                allowed: answer["status"]["allowed"] == true,
            });
        }
        Ok(reports)
    }
}

pub(crate) fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

pub(crate) fn optional(object: &Value, pointer: &str) -> Option<String> {
    object.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
}

pub(crate) fn array<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

pub(crate) fn map(object: &Value, pointer: &str) -> BTreeMap<String, String> {
    let fields = object.pointer(pointer).and_then(Value::as_object);
    let pairs = fields.into_iter().flatten().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    pairs.collect()
}

fn number(object: &Value, pointer: &str) -> Option<u32> {
    object.pointer(pointer).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok())
}

/// `aws:///us-east-1a/i-...`, as the cloud provider writes it. Fargate's (`aws:///us-east-1a/.../fargate-ip-...`) and hybrid nodes
/// (`eks-hybrid:///...`) are no instances.
fn ec2_instance(provider: &str) -> Option<InstanceId> {
    let path = provider.strip_prefix("aws://")?;
    path.rsplit('/').next().filter(|id| id.starts_with("i-")).map(InstanceId::from)
}

fn names(objects: &[Value]) -> Vec<String> {
    objects.iter().map(|object| text(object, "/metadata/name")).collect()
}

fn read_class(class: &Value) -> StorageClassReport {
    let default = "/metadata/annotations/storageclass.kubernetes.io~1is-default-class";
    StorageClassReport {
        name: text(class, "/metadata/name"),
        provisioner: text(class, "/provisioner"),
        reclaim_policy: text(class, "/reclaimPolicy"),
        binding_mode: text(class, "/volumeBindingMode"),
        is_default: text(class, default) == "true",
    }
}

fn read_namespace(namespace: &Value) -> NamespaceReport {
    NamespaceReport {
        name: text(namespace, "/metadata/name"),
        pod_security: optional(namespace, "/metadata/labels/pod-security.kubernetes.io~1enforce"),
        phase: text(namespace, "/status/phase"),
    }
}

fn read_service(service: &Value) -> ServiceReport {
    ServiceReport {
        name: text(service, "/metadata/name"),
        headless: text(service, "/spec/clusterIP") == "None",
        publishes_not_ready: service["spec"]["publishNotReadyAddresses"] == true,
    }
}

fn read_claim(claim: &Value) -> ClaimReport {
    ClaimReport {
        name: text(claim, "/metadata/name"),
        phase: text(claim, "/status/phase"),
        volume_name: optional(claim, "/spec/volumeName").filter(|name| !name.is_empty()),
        going: !claim["metadata"]["deletionTimestamp"].is_null(),
        labels: map(claim, "/metadata/labels"),
    }
}

fn read_volume(volume: &Value) -> PersistentVolumeReport {
    let in_tree = optional(volume, "/spec/awsElasticBlockStore/volumeID");
    let claim = volume["spec"]["claimRef"]
        .is_object()
        .then(|| format!("{}/{}", text(volume, "/spec/claimRef/namespace"), text(volume, "/spec/claimRef/name")));
    PersistentVolumeReport {
        name: text(volume, "/metadata/name"),
        // As kubectl shows it.
        phase: if volume["metadata"]["deletionTimestamp"].is_null() {
            text(volume, "/status/phase")
        } else {
            "Terminating".to_owned()
        },
        driver: optional(volume, "/spec/csi/driver").or(in_tree.as_ref().map(|_| "kubernetes.io/aws-ebs".to_owned())),
        handle: optional(volume, "/spec/csi/volumeHandle")
            .or(in_tree.map(|id| id.rsplit('/').next().unwrap_or_default().to_owned())),
        claim,
        labels: map(volume, "/metadata/labels"),
    }
}

fn read_set(set: &Value, config_maps: &[Value]) -> StatefulSetReport {
    let pod = "/spec/template/spec";
    let at = |path: &str| format!("{pod}{path}");
    let mut annotations = map(set, "/metadata/annotations");
    annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    let or_retain = |value: String| if value.is_empty() { "Retain".to_owned() } else { value };
    let managed = array(set, "/metadata/managedFields");
    StatefulSetReport {
        namespace: text(set, "/metadata/namespace"),
        name: text(set, "/metadata/name"),
        uid: text(set, "/metadata/uid"),
        replicas: number(set, "/spec/replicas").unwrap_or(1),
        current_replicas: number(set, "/status/replicas").unwrap_or(0),
        first_ordinal: number(set, "/spec/ordinals/start").unwrap_or(0),
        service_name: text(set, "/spec/serviceName"),
        pod_management_policy: optional(set, "/spec/podManagementPolicy").unwrap_or("OrderedReady".to_owned()),
        when_deleted: or_retain(text(set, "/spec/persistentVolumeClaimRetentionPolicy/whenDeleted")),
        when_scaled: or_retain(text(set, "/spec/persistentVolumeClaimRetentionPolicy/whenScaled")),
        selector: map(set, "/spec/selector/matchLabels"),
        templates: array(set, "/spec/volumeClaimTemplates").iter().map(read_template).collect(),
        template_hash: set.pointer("/spec/template").map(fingerprint),
        containers: array(set, &at("/containers")).iter().map(|c| read_container(c, config_maps)).collect(),
        run_as_user: number(set, &at("/securityContext/runAsUser")),
        fs_group: number(set, &at("/securityContext/fsGroup")),
        fs_group_change_policy: optional(set, &at("/securityContext/fsGroupChangePolicy")),
        host_network: set.pointer(&at("/hostNetwork")) == Some(&json!(true)),
        placement: set.pointer(pod).map(placement).unwrap_or_default(),
        managers: managed.iter().map(|entry| text(entry, "/manager")).collect(),
        labels: map(set, "/metadata/labels"),
        annotations,
        owner: array(set, "/metadata/ownerReferences")
            .first()
            .map(|owner| format!("{} {}", text(owner, "/kind"), text(owner, "/name"))),
    }
}

fn read_template(template: &Value) -> ClaimTemplateReport {
    ClaimTemplateReport {
        name: text(template, "/metadata/name"),
        storage_class: optional(template, "/spec/storageClassName"),
        request: text(template, "/spec/resources/requests/storage"),
        access_modes: array(template, "/spec/accessModes")
            .iter()
            .filter_map(|m| m.as_str().map(str::to_owned))
            .collect(),
        volume_mode: optional(template, "/spec/volumeMode").unwrap_or("Filesystem".to_owned()),
        labels: map(template, "/metadata/labels"),
        has_selector: template["spec"]["selector"].is_object(),
        attributes_class: optional(template, "/spec/volumeAttributesClassName"),
    }
}

fn read_container(container: &Value, config_maps: &[Value]) -> ContainerReport {
    let mut env = BTreeMap::new();
    for variable in array(container, "/env") {
        let value = if let Some(literal) = variable["value"].as_str() {
            expanded(literal, &env)
        } else if variable["valueFrom"]["configMapKeyRef"].is_object() {
            read_reference(&variable["valueFrom"]["configMapKeyRef"], config_maps)
        } else {
            EnvValue::Other(variable["valueFrom"].to_string())
        };
        env.insert(text(variable, "/name"), value);
    }
    let mount = |mount: &Value| VolumeMount {
        volume: text(mount, "/name"),
        path: text(mount, "/mountPath"),
        // Of one with variables in it nobody can tell; as it stands it is no directory of the volume.
        sub_path: optional(mount, "/subPath").or_else(|| optional(mount, "/subPathExpr")),
    };
    let from = |source: &Value| ["/configMapRef/name", "/secretRef/name"].iter().find_map(|at| optional(source, at));
    ContainerReport {
        name: text(container, "/name"),
        image: text(container, "/image"),
        env,
        env_from: array(container, "/envFrom").iter().filter_map(from).collect(),
        own_command: ["/command", "/args"].iter().any(|at| !array(container, at).is_empty()),
        mounts: array(container, "/volumeMounts").iter().map(mount).collect(),
        run_as_user: number(container, "/securityContext/runAsUser"),
        readiness: probe(container, "readinessProbe"),
        liveness: probe(container, "livenessProbe"),
        startup: probe(container, "startupProbe"),
    }
}

fn read_reference(reference: &Value, config_maps: &[Value]) -> EnvValue {
    let (name, key) = (text(reference, "/name"), text(reference, "/key"));
    let found = config_maps.iter().find(|map| text(map, "/metadata/name") == name);
    EnvValue::ConfigMap {
        value: found.and_then(|map| map["data"].get(&key)).and_then(Value::as_str).map(str::to_owned),
        optional: reference["optional"] == true,
        name,
        key,
    }
}

fn probe(container: &Value, kind: &str) -> Option<String> {
    let probe = &container[kind];
    let number = |name: &str| {
        let named = array(container, "/ports").iter().find(|port| port["name"] == name)?;
        Some(named["containerPort"].as_u64()?.to_string())
    };
    let port = |handler: &Value| match &handler["port"] {
        Value::Number(number) => number.to_string(),
        other => {
            let name = other.as_str().unwrap_or_default();
            number(name).unwrap_or_else(|| name.to_owned())
        }
    };
    if probe["tcpSocket"].is_object() {
        return Some(format!("tcp:{}", port(&probe["tcpSocket"])));
    }
    if probe["httpGet"].is_object() {
        return Some(format!("http:{}{}", port(&probe["httpGet"]), text(probe, "/httpGet/path")));
    }
    if probe["exec"].is_object() {
        let command: Vec<&str> = array(probe, "/exec/command").iter().filter_map(Value::as_str).collect();
        return Some(format!("exec:{}", command.join(" ")));
    }
    None
}
