"""dbt: a project with a seed, a table, a view, an incremental model, a materialized view, and tests; twice."""

import os
import pathlib
import subprocess
import tempfile

import psycopg2

import report
from report import show

FILES = {
    "dbt_project.yml": "name: shop\nversion: '1.0'\nconfig-version: 2\nprofile: shop\nmodel-paths: [models]\nseed-paths: [seeds]\n",
    "profiles.yml": f"""shop:
  target: here
  outputs:
    here: {{type: postgres, host: {report.HOST}, port: {report.PORT}, user: {report.USER}, password: x, dbname: {report.DATABASE}, schema: public, threads: 1}}
""",
    "seeds/sales.csv": "id,shop,amount\n1,10,1.5\n2,10,2.25\n3,20,7\n",
    "models/totals.sql": "{{ config(materialized='table') }}\nselect shop, sum(amount) as total from {{ ref('sales') }} group by shop\n",
    "models/big.sql": "{{ config(materialized='view') }}\nselect * from {{ ref('totals') }} where total > 5\n",
    "models/history.sql": """{{ config(materialized='incremental', unique_key='id') }}
select id, amount from {{ ref('sales') }}
{% if is_incremental() %} where id > (select max(id) from {{ this }}) {% endif %}
""",
    "models/live.sql": "{{ config(materialized='materialized_view') }}\nselect shop, count(*) as n from {{ ref('sales') }} group by shop\n",
    "models/schema.yml": "models:\n  - name: totals\n    columns:\n      - name: shop\n        data_tests: [unique, not_null]\n",
}


def main():
    with tempfile.TemporaryDirectory() as folder:
        for name, text in FILES.items():
            path = pathlib.Path(folder, name)
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        for command in ("seed", "run", "test", "run"):
            done = subprocess.run(
                ["dbt", "--no-use-colors", "--no-send-anonymous-usage-stats", command, "--project-dir", folder, "--profiles-dir", folder],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, cwd=folder, env=os.environ | {"DO_NOT_TRACK": "1"})
            lines = done.stdout.decode().splitlines()
            show(command, (done.returncode, [line.split("  ", 1)[-1] for line in lines if "Done. PASS" in line]))
            if done.returncode:
                print("\n".join(line.split("  ", 1)[-1] for line in lines[-40:]))
    connection = psycopg2.connect(host=report.HOST, port=report.PORT, user=report.USER, dbname=report.DATABASE)
    cursor = connection.cursor()
    for table in ("totals", "big", "history", "live"):
        cursor.execute(f"select * from {table} order by 1")
        show(table, cursor.fetchall())


main()
