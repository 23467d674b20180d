//! Small sites of known applications, made from the schemas in `tests/sites`: databases, the files that their rows name, and others.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::common::repository;

/// The contents of every file that a row names.
pub const BODY: &str = "what a row of the database names\n";
/// Its digests.
pub const SHA256: &str = "4b903e0885f3efd41dc862b36bfb419931d31b027e65fcbc9f3ce81fbc841cc9";
pub const MD5: &str = "7cc579fecf3b49efec5d82ab04307381";
pub const MD5_BASE64: &str = "fMV5/s87Se/sXYKrBDBzgQ==";

/// A site of one application.
pub struct Site {
    /// The preset that fits.
    pub app: &'static str,
    /// Databases; each gets the schema of the application.
    pub databases: &'static [&'static str],
    /// Rows for the first database; `{size}` and the digests are those of [`BODY`].
    pub rows: &'static str,
    /// Files that the rows name.
    pub named: &'static [&'static str],
    /// Files that are part of the site, and that no row names.
    pub others: &'static [&'static str],
    /// Files that the preset leaves out.
    pub left_out: &'static [&'static str],
}

/// An object of Git LFS is named by the digest of its contents.
const OID: &str = SHA256;

/// One site for each preset.
pub const SITES: &[Site] = &[
    Site {
        app: "actual",
        databases: &["server-files/account.sqlite", "user-files/group-g1.sqlite"],
        rows: "INSERT INTO files (id, group_id, name) VALUES ('f1', 'g1', 'Household')",
        named: &["user-files/file-f1.blob"],
        others: &["config.json"],
        left_out: &[],
    },
    Site {
        app: "audiobookshelf",
        databases: &["config/absdatabase.sqlite"],
        rows: "INSERT INTO authors VALUES ('a1', 'Ada', '/metadata/authors/a1.jpg');
               INSERT INTO books VALUES ('b1', 'Notes', '/metadata/items/i1/cover.jpg');
               INSERT INTO podcasts VALUES ('p1', 'Talk', '/metadata/items/i2/cover.png')",
        named: &["metadata/authors/a1.jpg", "metadata/items/i1/cover.jpg", "metadata/items/i2/cover.png"],
        others: &["config/migrations/v2.js"],
        left_out: &["metadata/cache/covers/x.webp", "metadata/logs/daily/2026-11-28.txt"],
    },
    Site {
        app: "campfire",
        databases: &["db/production.sqlite3"],
        rows: "INSERT INTO active_storage_blobs (key, filename, service_name, byte_size, checksum)
               VALUES ('abcdefgh', 'photo.jpg', 'local', {size}, '{md5_base64}')",
        named: &["files/ab/cd/abcdefgh"],
        others: &[],
        left_out: &["backups/production.sqlite3"],
    },
    Site {
        app: "campfire-app",
        databases: &["storage/db/production.sqlite3"],
        rows: "INSERT INTO active_storage_blobs (key, filename, service_name, byte_size, checksum)
               VALUES ('abcdefgh', 'photo.jpg', 'local', {size}, '{md5_base64}')",
        named: &["storage/files/ab/cd/abcdefgh"],
        others: &[],
        left_out: &["storage/backups/production.sqlite3"],
    },
    Site {
        app: "datasette",
        databases: &["trees.db"],
        rows: "INSERT INTO trees VALUES (1, 'oak', 1890)",
        named: &[],
        others: &["datasette.yaml", "templates/index.html"],
        left_out: &["plugins/__pycache__/x.pyc"],
    },
    Site {
        app: "django",
        databases: &["db.sqlite3"],
        rows: "INSERT INTO shop_product (name, photo) VALUES ('chair', 'photos/chair.jpg')",
        named: &[],
        others: &["manage.py", "media/photos/chair.jpg", ".env"],
        left_out: &["shop/__pycache__/models.pyc"],
    },
    Site {
        app: "freshrss",
        databases: &["users/ada/db.sqlite", "users/ben/db.sqlite"],
        rows: "INSERT INTO feed (url, name) VALUES ('https://example.org/feed', 'Example')",
        named: &[],
        others: &["config.php", "users/ada/config.php", "favicons/1a.ico"],
        left_out: &["cache/x.spc"],
    },
    Site {
        app: "gitea",
        databases: &["data/gitea.db"],
        rows: "INSERT INTO attachment (uuid, repo_id, name, size) VALUES ('4f5c1f0e-0001', 1, 'log.txt', {size});
               INSERT INTO lfs_meta_object (oid, size, repository_id) VALUES ('{sha256}', {size}, 1), ('{sha256}', {size}, 2)",
        named: &["data/attachments/4/f/4f5c1f0e-0001", "data/lfs/{oid}"],
        others: &["custom/conf/app.ini", "data/gitea-repositories/ada/engine.git/HEAD"],
        left_out: &["data/indexers/issues.bleve/store", "log/gitea.log"],
    },
    Site {
        app: "gitea-docker",
        databases: &["gitea/gitea.db"],
        rows: "INSERT INTO attachment (uuid, repo_id, name, size) VALUES ('4f5c1f0e-0001', 1, 'log.txt', {size});
               INSERT INTO lfs_meta_object (oid, size, repository_id) VALUES ('{sha256}', {size}, 1)",
        named: &["gitea/attachments/4/f/4f5c1f0e-0001", "git/lfs/{oid}"],
        others: &["gitea/conf/app.ini", "git/repositories/ada/engine.git/HEAD", "ssh/ssh_host_rsa_key"],
        left_out: &["gitea/indexers/issues.bleve/store", "gitea/log/gitea.log"],
    },
    Site {
        app: "grafana",
        databases: &["grafana.db"],
        rows: "INSERT INTO migration_log (migration_id, success) VALUES ('create annotation table', 1)",
        named: &[],
        others: &["plugins/panel/plugin.json"],
        left_out: &["log/grafana.log"],
    },
    Site {
        app: "home-assistant",
        databases: &["home-assistant_v2.db"],
        rows: "INSERT INTO states VALUES (1, 'on', 0.0)",
        named: &[],
        others: &["configuration.yaml", "secrets.yaml", ".storage/auth", ".storage/core.config_entries"],
        left_out: &["home-assistant.log", "backups/a.tar", "tts/x.mp3"],
    },
    Site {
        app: "jellyfin",
        databases: &["data/jellyfin.db"],
        rows: "INSERT INTO Users VALUES ('u1', 'ada')",
        named: &[],
        others: &["config/system.xml", "metadata/People/A/x.jpg", "root/default/Films/options.xml"],
        left_out: &["cache/images/x.jpg", "log/log_1.log"],
    },
    Site {
        app: "lab",
        databases: &["lrl.db"],
        rows: "INSERT INTO assets (id, filename_original, size_bytes, sha256, storage_path) VALUES ('a1', 'v1.txt', {size}, '{sha256}', 'a1/v1.txt')",
        named: &["assets/a1/v1.txt"],
        others: &[],
        left_out: &[],
    },
    Site {
        app: "linkding",
        databases: &["db.sqlite3"],
        rows: "INSERT INTO bookmarks_bookmark (url, favicon_file, preview_image_file) VALUES ('https://a', 'https_a.png', 'p1.png'), ('https://a/b', 'https_a.png', '');
               INSERT INTO bookmarks_bookmarkasset (file, file_size, status, bookmark_id) VALUES ('snapshot_1.html.gz', {size}, 'complete', 1)",
        named: &["assets/snapshot_1.html.gz", "favicons/https_a.png", "previews/p1.png"],
        others: &["secretkey.txt"],
        left_out: &[],
    },
    Site {
        app: "mealie",
        databases: &["mealie.db"],
        rows: "INSERT INTO recipes (id, slug, name) VALUES ('0123456789abcdef0123456789abcdef', 'soup', 'Soup');
               INSERT INTO recipe_assets (recipe_id, name, file_name) VALUES ('0123456789abcdef0123456789abcdef', 'sheet', 'sheet.pdf')",
        named: &["recipes/01234567-89ab-cdef-0123-456789abcdef/assets/sheet.pdf"],
        others: &["recipes/01234567-89ab-cdef-0123-456789abcdef/images/original.webp", ".secret", "templates/recipes.md"],
        left_out: &["backups/2026.zip"],
    },
    Site {
        app: "memos",
        databases: &["memos_prod.db"],
        rows: "INSERT INTO attachment (uid, filename, size, storage_type, reference) VALUES ('a1', 'a.png', {size}, 'LOCAL', 'assets/1_a1_a.png')",
        named: &["assets/1_a1_a.png"],
        others: &[],
        left_out: &[".thumbnail_cache/1.jpg"],
    },
    Site {
        app: "n8n",
        databases: &["database.sqlite"],
        rows: "INSERT INTO workflow_entity (name, active, nodes) VALUES ('nightly', 1, '[]')",
        named: &[],
        others: &["config", "nodes/package.json", "storage/workflows/1/executions/1/binary_data/x"],
        left_out: &["n8nEventLog.log"],
    },
    Site {
        app: "navidrome",
        databases: &["navidrome.db"],
        rows: "INSERT INTO playlist VALUES ('p1', 'Morning')",
        named: &[],
        others: &["artwork/playlist/p1.jpg", "navidrome.toml"],
        left_out: &["cache/images/x"],
    },
    Site {
        app: "open-webui",
        databases: &["webui.db"],
        rows: "INSERT INTO file (id, filename, path, meta) VALUES ('f1', 'a.pdf', '/app/backend/data/uploads/f1_a.pdf', '{\"size\": {size}}')",
        named: &["uploads/f1_a.pdf"],
        others: &["vector_db/0001/data_level0.bin"],
        left_out: &["cache/embedding/models/x"],
    },
    Site {
        app: "paperless",
        databases: &["data/db.sqlite3"],
        rows: "INSERT INTO documents_document (title, checksum, archive_checksum, filename, archive_filename) VALUES
               ('Letter', '{sha256}', '{sha256}', '2026/letter.png', '2026/letter.pdf'), ('Old', '{md5}', NULL, 'old.pdf', NULL)",
        named: &[
            "media/documents/originals/2026/letter.png",
            "media/documents/archive/2026/letter.pdf",
            "media/documents/originals/old.pdf",
            "media/documents/thumbnails/0000001.webp",
            "media/documents/thumbnails/0000002.webp",
        ],
        others: &[],
        left_out: &["data/index/x.seg", "data/log/paperless.log", "media/media.lock"],
    },
    Site {
        app: "pocketbase",
        databases: &["data.db"],
        rows: "INSERT INTO users VALUES ('u1', 'ada@example.org', 'me_x1.png'), ('u2', 'ben@example.org', '');
               INSERT INTO posts VALUES ('p1', 'Two', '[\"a_1.png\",\"b_2.png\"]'), ('p2', 'None', '[]')",
        named: &["storage/_pb_users_auth_/u1/me_x1.png", "storage/pbc_1/p1/a_1.png", "storage/pbc_1/p1/b_2.png"],
        others: &["storage/pbc_1/p1/a_1.png.attrs"],
        left_out: &["backups/pb_backup.zip"],
    },
    Site {
        app: "rails",
        databases: &["storage/production.sqlite3", "storage/production_queue.sqlite3"],
        rows: "INSERT INTO active_storage_blobs (key, filename, service_name, byte_size, checksum)
               VALUES ('abcdefgh', 'photo.jpg', 'local', {size}, '{md5_base64}')",
        named: &["storage/ab/cd/abcdefgh"],
        others: &["config/master.key"],
        left_out: &["storage/production_cache.sqlite3"],
    },
    Site {
        app: "rails-volume",
        databases: &["production.sqlite3", "production_queue.sqlite3"],
        rows: "INSERT INTO active_storage_blobs (key, filename, service_name, byte_size, checksum)
               VALUES ('abcdefgh', 'photo.jpg', 'local', {size}, '{md5_base64}')",
        named: &["ab/cd/abcdefgh"],
        others: &[],
        left_out: &["production_cable.sqlite3"],
    },
    Site {
        app: "uptime-kuma",
        databases: &["kuma.db"],
        rows: "INSERT INTO status_page (slug, title, icon) VALUES ('shop', 'Shop', '/upload/logo1.png?t=1764300000'), ('old', 'Old', '/upload/logo2.png')",
        named: &["upload/logo1.png", "upload/logo2.png"],
        others: &["db-config.json"],
        left_out: &["screenshots/1.png"],
    },
    Site {
        app: "vaultwarden",
        databases: &["db.sqlite3"],
        rows: "INSERT INTO attachments VALUES ('a1', 'c1', 'x', {size}, NULL);
               INSERT INTO sends VALUES ('s1', 'u1', 'x', 1, '{\"id\":\"f1\",\"size\":{size}}'), ('s2', 'u1', 'x', 0, '{}')",
        named: &["attachments/c1/a1", "sends/s1/f1"],
        others: &["rsa_key.pem", "config.json"],
        left_out: &["icon_cache/example.org.png", "tmp/x"],
    },
];

impl Site {
    /// Returns the files that the rows name.
    pub fn named(&self) -> Vec<String> {
        let lfs = format!("{}/{}/{}", &OID[..2], &OID[2..4], &OID[4..]);
        self.named.iter().map(|path| path.replace("{oid}", &lfs)).collect()
    }
}

/// Returns the site of an application.
pub fn of(app: &str) -> &'static Site {
    SITES.iter().find(|site| site.app == app).unwrap_or_else(|| panic!("no site for {app}"))
}

/// Makes the site of an application in `dir`, in WAL mode.
pub fn site(app: &str, dir: &Path) -> &'static Site {
    let site = of(app);
    let schema = fs::read_to_string(repository().join(format!("tests/sites/{app}.sql"))).unwrap();
    for (n, path) in site.databases.iter().enumerate() {
        let conn = Connection::open(parent_of(dir.join(path))).unwrap();
        conn.execute_batch("PRAGMA journal_mode = wal").unwrap();
        conn.execute_batch(&schema).unwrap();
        if n == 0 {
            conn.execute_batch(&filled(site.rows)).unwrap();
        }
    }
    for path in site.named() {
        fs::write(parent_of(dir.join(path)), BODY).unwrap();
    }
    for path in site.others.iter().chain(site.left_out) {
        fs::write(parent_of(dir.join(path)), format!("{path}\n")).unwrap();
    }
    site
}

fn filled(sql: &str) -> String {
    let sql = sql.replace("{size}", &BODY.len().to_string()).replace("{sha256}", SHA256);
    sql.replace("{md5_base64}", MD5_BASE64).replace("{md5}", MD5)
}

/// Makes the directory of a file.
fn parent_of(path: PathBuf) -> PathBuf {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    path
}
