//! `assay serve` as several processes: ranks that `mpirun` starts, or one that has the library spawn workers.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use assay::manifest::{
    FileDigest, GpuTarget, MANIFEST_FILE, TEMPLATE_FILE, TOKENIZER_FILE, TRTLLM_CONFIG_FILE, Target,
    rank_file,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::server;

/// Longest that anything is waited for; a test that waits this long has failed.
const TIME_LIMIT: Duration = Duration::from_secs(300);

/// What starts ranks: `ASSAY_MPIRUN`, else the script beside this file.
pub(crate) fn mpirun() -> PathBuf {
    match std::env::var_os("ASSAY_MPIRUN") {
        Some(program) => program.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trtllm/mpirun"),
    }
}

/// An engine directory that `assay serve` takes, for `tensor_parallel` times `pipeline_parallel` GPUs; its
/// stand-in follows `script`.
pub(crate) fn engine(tensor_parallel: usize, pipeline_parallel: usize, script: &str) -> TempDir {
    let directory = server::engine_directory();
    let mut manifest = server::manifest();
    manifest.target = Target::TensorrtLlm(GpuTarget {
        tensor_parallel,
        pipeline_parallel,
        tensorrt_llm: "1.2.1".into(),
        ..GpuTarget::default()
    });
    let ranks = tensor_parallel * pipeline_parallel;
    let made: Vec<String> = (0..ranks).map(rank_file).chain([TRTLLM_CONFIG_FILE.to_owned()]).collect();
    for name in &made {
        std::fs::write(directory.path().join(name), "{}").unwrap();
    }
    for name in made.into_iter().chain([TOKENIZER_FILE.to_owned(), TEMPLATE_FILE.to_owned()]) {
        let path = directory.path().join(&name);
        let content = std::fs::read(path).unwrap();
        let sha256 = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        manifest
            .files
            .insert(name, FileDigest { bytes: content.len() as u64, sha256, ..FileDigest::default() });
    }
    manifest.profile.id = manifest.profile_id().unwrap();
    std::fs::write(directory.path().join(MANIFEST_FILE), serde_saphyr::to_string(&manifest).unwrap())
        .unwrap();
    std::fs::write(directory.path().join("stand-in.conf"), format!("ranks {ranks}\n{script}")).unwrap();
    directory
}

/// A process that was started, and all it has started.
pub(crate) struct Job {
    process: Child,
    lines: Arc<Mutex<Vec<String>>>,
    _engine: TempDir,
}

impl Job {
    /// The engine's ranks under `mpirun`, or `ranks` of them.
    pub(crate) fn start(ranks: usize, engine: TempDir, options: &[&str]) -> Self {
        let mut command = Command::new(mpirun());
        command.args(["-n", &ranks.to_string(), "--bind-to", "none", env!("CARGO_BIN_EXE_assay"), "serve"]);
        Self::spawn(command, engine, options)
    }

    /// What the images' entry script starts.
    pub(crate) fn start_image(engine: TempDir, options: &[&str]) -> Self {
        let command = entry_script(engine.path());
        Self::spawn(command, engine, options)
    }

    /// What it starts in the first of `pods` pods of a LeaderWorkerSet, with `gpus` ranks in each. They are all
    /// on this machine, and so is what the first reaches through SSH; Open MPI takes them for several.
    pub(crate) fn start_pods(pods: usize, gpus: usize, engine: TempDir, options: &[&str]) -> Self {
        let mut command = entry_script(engine.path());
        let ssh = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trtllm/ssh");
        std::os::unix::fs::symlink(ssh, engine.path().join("bin/ssh")).unwrap();
        command.env("LWS_GROUP_SIZE", pods.to_string()).env("LWS_WORKER_INDEX", "0");
        command.env("LWS_LEADER_ADDRESS", "judge-0.judge.here").env("ASSAY_GPUS_PER_NODE", gpus.to_string());
        Self::spawn(command, engine, options)
    }

    /// One process, without `mpirun`.
    pub(crate) fn start_alone(engine: TempDir, options: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
        command.arg("serve");
        Self::spawn(command, engine, options)
    }

    /// What `command` starts, with the options that tests need after it.
    pub(crate) fn spawn(mut command: Command, engine: TempDir, options: &[&str]) -> Self {
        command.arg("--engine").arg(engine.path());
        command.args(["--host", "127.0.0.1", "--port", "0", "--log-format", "json"]).args(options);
        // Open MPI's own refuses root, and more ranks than processors, unless its options allow it.
        for name in
            ["OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "OMPI_MCA_rmaps_base_oversubscribe"]
        {
            command.env(name, "1");
        }
        let mut process = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let log = BufReader::new(process.stderr.take().unwrap());
        thread::spawn({
            let lines = lines.clone();
            move || log.lines().map_while(Result::ok).for_each(|line| lines.lock().unwrap().push(line))
        });
        Self { process, lines, _engine: engine }
    }

    pub(crate) fn engine(&self) -> &Path {
        self._engine.path()
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn lines(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// Waits for log lines with this message, `count` of them.
    pub(crate) fn logged(&mut self, message: &str, count: usize) -> Vec<Value> {
        until(|| {
            let lines = self.lines();
            let found: Vec<Value> = lines
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .filter(|line| line["message"].as_str().is_some_and(|text| text.starts_with(message)))
                .collect();
            assert!(
                found.len() >= count || self.process.try_wait().unwrap().is_none(),
                "it has ended: {lines}"
            );
            (found.len() >= count).then_some(found)
        })
    }

    /// Where the server listens.
    pub(crate) fn address(&mut self) -> String {
        self.logged("listening", 1)[0]["address"].as_str().unwrap().to_owned()
    }

    /// The processes of the job's ranks or workers, in their order.
    pub(crate) fn ranks(&self) -> Vec<u32> {
        let mut ranks: Vec<(usize, u32)> = descendants(self.id())
            .into_iter()
            .filter_map(|id| {
                let environment = std::fs::read(format!("/proc/{id}/environ")).ok()?;
                let rank = environment
                    .split(|&byte| byte == 0)
                    .find_map(|variable| variable.strip_prefix(b"OMPI_COMM_WORLD_RANK="))?;
                Some((String::from_utf8_lossy(rank).parse().ok()?, id))
            })
            .collect();
        ranks.sort_unstable();
        ranks.into_iter().map(|(_, id)| id).collect()
    }

    /// The status that the job ends with; none of its processes is left then.
    pub(crate) fn ended(mut self) -> i32 {
        let ranks = self.ranks();
        let status = until(|| self.process.try_wait().unwrap());
        until(|| ranks.iter().all(|&id| !is_running(id)).then_some(()));
        status.code().unwrap_or(-1)
    }
}

/// The images' entry script, which finds the server and `mpirun` in `bin` of `directory`.
fn entry_script(directory: &Path) -> Command {
    let bin = directory.join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_assay"), bin.join("assay")).unwrap();
    if std::env::var_os("ASSAY_MPIRUN").is_none() {
        std::os::unix::fs::symlink(mpirun(), bin.join("mpirun")).unwrap();
    }
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/entrypoint.sh"));
    command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
    command
}

impl Drop for Job {
    fn drop(&mut self) {
        for id in descendants(self.id()).into_iter().chain([self.id()]) {
            signal(id, "KILL");
        }
        let _ = self.process.wait();
    }
}

/// Waits until `condition` gives something.
pub(crate) fn until<T>(mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(begun.elapsed() < TIME_LIMIT, "the condition never became true");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Sends a signal, of a process that may have ended.
pub(crate) fn signal(process: u32, name: &str) {
    let _ =
        Command::new("kill").args([&format!("-{name}"), &process.to_string()]).stderr(Stdio::null()).status();
}

/// Whether a process exists and is not a zombie.
pub(crate) fn is_running(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

fn descendants(process: u32) -> Vec<u32> {
    // A process is listed with the thread that started it.
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let children = threads.flat_map(|thread| {
        let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        children.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<u32>>()
    });
    children.flat_map(|child| descendants(child).into_iter().chain([child])).collect()
}

/// Whether a process listens on a TCP port.
pub(crate) fn listens(process: u32) -> bool {
    let table = |name| std::fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default();
    let listening: HashSet<String> = [table("tcp"), table("tcp6")]
        .iter()
        .flat_map(|table| table.lines())
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.len() > 9 && words[3] == "0A")
        .map(|words| format!("socket:[{}]", words[9]))
        .collect();
    let files = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    files
        .flatten()
        .filter_map(|file| std::fs::read_link(file.path()).ok())
        .any(|target| listening.contains(target.to_string_lossy().as_ref()))
}

/// A request that was sent.
pub(crate) struct Sent(TcpStream);

impl Sent {
    pub(crate) fn new(address: &str, path: &str, body: Option<&Value>) -> Self {
        let text = body.map(Value::to_string).unwrap_or_default();
        let method = if body.is_some() { "POST" } else { "GET" };
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        let kind = format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", text.len());
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(format!("{head}{kind}{text}").as_bytes()).unwrap();
        Self(stream)
    }

    /// Status and body of its answer; `None` if the connection ends without one.
    pub(crate) fn answer(mut self) -> Option<(u16, String)> {
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }
}

/// Status and body of the answer to a request.
pub(crate) fn ask(address: &str, path: &str, body: Option<&Value>) -> (u16, String) {
    Sent::new(address, path, body).answer().expect("an answer")
}

/// A chat request whose last turn says `text`.
pub(crate) fn request(text: &str) -> Value {
    let mut request = server::paris();
    request["messages"][1]["content"] = json!(text);
    request
}
