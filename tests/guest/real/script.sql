-- What SQLite programs do: the same output every time, and status 1, for the refusals at the end.
-- sqlite3 -init /dev/null -batch FILE <script.sql
.bail on
.mode list
.separator |
PRAGMA page_size = 1024;
PRAGMA journal_mode = delete;
PRAGMA cache_size = 20; -- pages: what is larger spills into the file
CREATE TABLE author (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE book (
    id INTEGER PRIMARY KEY,
    author INTEGER NOT NULL REFERENCES author ON DELETE CASCADE,
    title TEXT NOT NULL,
    year INTEGER CHECK (year BETWEEN 1900 AND 2100),
    price REAL DEFAULT 9.5,
    body BLOB
);
CREATE INDEX book_author ON book (author, year DESC);
CREATE INDEX book_cheap ON book (price) WHERE price < 10;
CREATE TABLE log (at INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT);
CREATE TRIGGER logged AFTER DELETE ON book BEGIN INSERT INTO log (what) VALUES ('deleted ' || old.id); END;
CREATE VIEW prolific AS SELECT name, count(*) AS books FROM author JOIN book ON book.author = author.id GROUP BY name;
PRAGMA foreign_keys = ON;

BEGIN;
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)
INSERT INTO author (id, name) SELECT i, printf('Author %02d', i) FROM n;
WITH RECURSIVE n (i, r) AS (SELECT 1, 12345 UNION ALL SELECT i + 1, (r * 1103515245 + 12345) % 2147483648 FROM n WHERE i < 1000)
INSERT INTO book (id, author, title, year, price, body)
SELECT i, r % 20 + 1, 'Title ' || i, 1950 + r / 1000 % 70, round(r / 10000 % 3000 / 100.0, 2), zeroblob(i % 7 * 50) FROM n;
COMMIT;

.print == queries
SELECT count(*), min(year), max(year), printf('%.2f', sum(price)), sum(length(body)) FROM book;
SELECT name, books FROM prolific ORDER BY books DESC, name LIMIT 5;
SELECT a.name, b.title, b.year FROM author a LEFT JOIN book b ON b.author = a.id AND b.year = 1969 ORDER BY a.id, b.id LIMIT 8;
SELECT year / 10 * 10 AS decade, count(*), printf('%.3f', avg(price)) FROM book GROUP BY decade HAVING count(*) > 100 ORDER BY decade;
SELECT title, rank FROM (SELECT title, year, rank() OVER (ORDER BY year DESC, price DESC) AS rank FROM book) WHERE rank <= 5 ORDER BY rank, title;
SELECT group_concat(id, ',') FROM (SELECT id FROM book WHERE price < 0.2 ORDER BY id);
SELECT title FROM book WHERE title LIKE '%99%' AND id IN (SELECT id FROM book WHERE price > 15) ORDER BY id LIMIT 3;
EXPLAIN QUERY PLAN SELECT * FROM book WHERE author = 3 ORDER BY year DESC;
SELECT upper(hex('λ')), substr('container', 4, 3), coalesce(NULL, 'x'), typeof(1.0), 7 / 2, 7 % 3, '10' + 5, date(1000000000, 'unixepoch'), json_extract('{"a":[1,{"b":2}]}', '$.a[1].b');
SELECT count(*), sum(x.i * y.i) FROM (SELECT id AS i FROM book) x JOIN (SELECT id AS i FROM book) y ON x.i + y.i = 700;

.print == changes
BEGIN;
UPDATE book SET price = price + 1, title = title || ' (revised)' WHERE year < 1960;
SELECT changes(), count(*) FROM book WHERE title LIKE '%revised)';
DELETE FROM author WHERE id IN (4, 8, 15);
SELECT count(*) FROM book;
SELECT count(*), min(what) FROM log;
SAVEPOINT half;
DELETE FROM book;
SELECT count(*) FROM book;
ROLLBACK TO half;
SELECT count(*) FROM book;
COMMIT;
INSERT INTO author VALUES (1, 'Somebody else') ON CONFLICT (id) DO UPDATE SET name = excluded.name || ', born ' || author.name RETURNING id, name;
INSERT OR IGNORE INTO author (name) VALUES ('Author 02'), ('Author 77');
SELECT id, name FROM author WHERE id = 1 OR id > 20;
BEGIN;
DELETE FROM log;
ROLLBACK;
SELECT count(*) > 0 FROM log;

.print == a large sort, with temporary files
PRAGMA temp_store = file;
CREATE TEMP TABLE wide AS
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
SELECT i, printf('%08d', i * 7919 % 5003) AS k, printf('%0200d', i) AS filler FROM n;
CREATE INDEX temp.wide_k ON wide (k, filler);
SELECT i, k FROM wide ORDER BY k DESC LIMIT 3;
SELECT count(DISTINCT k), sum(length(filler)) FROM wide;

.print == upkeep
CREATE TABLE copy AS SELECT * FROM book ORDER BY price, id;
DROP TABLE copy;
SELECT freelist_count > 0 FROM pragma_freelist_count;
VACUUM;
PRAGMA freelist_count;
ANALYZE;
SELECT tbl, idx FROM sqlite_stat1 ORDER BY tbl, idx;
PRAGMA integrity_check;
PRAGMA foreign_key_check;
ALTER TABLE author ADD COLUMN born INTEGER DEFAULT 1900;
ALTER TABLE author RENAME COLUMN name TO called;
SELECT sql FROM sqlite_schema WHERE name IN ('author', 'prolific') ORDER BY name;
ATTACH 'other.db' AS other;
CREATE TABLE other.copy AS SELECT id, called FROM author;
SELECT count(*) FROM other.copy JOIN main.author USING (id);
DETACH other;
.mode csv
SELECT id, called, NULL, 'with "quotes"' FROM author WHERE id < 3;
.dump author

.print == refusals
.bail off
INSERT INTO book (author, title, year) VALUES (1, 'Too early', 1066);
INSERT INTO book (author, title, year) VALUES (99, 'By nobody', 2000);
INSERT INTO author (called) VALUES (NULL);
SELECT nothing FROM nowhere;
