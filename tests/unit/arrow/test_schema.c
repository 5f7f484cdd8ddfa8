/*
 * test_schema.c: making, copying and searching schemas.
 */
#include "fixture.h"

static void schema__is_what_nanoarrow_reads(void **state)
{
    (void)state;
    qn_auto_schema schema = { 0 };
    make_schema(&schema, 3, "id", "l", "name", "vu", "at", "tsu:UTC");
    struct ArrowSchemaView view;
    assert_string_equal(schema.format, "+s");
    assert_int_equal(schema.n_children, 3);
    assert_int_equal(ArrowSchemaViewInit(&view, schema.children[1], NULL), NANOARROW_OK);
    assert_int_equal(view.type, NANOARROW_TYPE_STRING_VIEW);
    assert_string_equal(schema.children[1]->name, "name");
    assert_true(schema.children[1]->flags & ARROW_FLAG_NULLABLE);
    assert_int_equal(ArrowSchemaViewInit(&view, schema.children[2], NULL), NANOARROW_OK);
    assert_string_equal(view.timezone, "UTC");
}

static void schema__nests(void **state)
{
    (void)state;
    qn_auto_schema schema = { 0 };
    make_schema(&schema, 1, "tags", "+l");
    struct qn_type text = qn_type_of(QN_TYPE_STRING_VIEW);
    ok(qn_schema_children(schema.children[0], 1, &error));
    ok(qn_schema_set(schema.children[0], 0, "item", &text, &error));
    struct ArrowSchemaView view;
    assert_int_equal(ArrowSchemaViewInit(&view, schema.children[0], NULL), NANOARROW_OK);
    assert_int_equal(view.type, NANOARROW_TYPE_LIST);
    assert_string_equal(schema.children[0]->children[0]->format, "vu");
    refused(qn_schema_children(schema.children[0], 2, &error), QN_ERR_ARGUMENT, "children");
    refused(qn_schema_children(&schema, -1, &error), QN_ERR_ARGUMENT, "-1");
    refused(qn_schema_set(&schema, 1, "x", &text, &error), QN_ERR_ARGUMENT, "no field 1");
}

static void schema__of_zero_fields_is_allowed(void **state)
{
    (void)state;
    qn_auto_schema schema = { 0 }, copy = { 0 };
    ok(qn_schema_struct(&schema, 0, &error));
    assert_int_equal(schema.n_children, 0);
    ok(qn_schema_copy(&schema, &copy, &error));
    assert_string_equal(copy.format, "+s");
}

static void schema_metadata__is_added_replaced_and_copied(void **state)
{
    (void)state;
    qn_auto_schema schema = { 0 }, copy = { 0 };
    make_schema(&schema, 1, "c", "vu");
    const char *value = NULL;
    size_t size = 0;
    assert_false(qn_schema_metadata_get(schema.children[0], QN_KEY_SQL_TYPE, &value, &size));
    ok(qn_schema_metadata_set(schema.children[0], QN_KEY_SQL_TYPE, "varchar(20)", &error));
    ok(qn_schema_metadata_set(schema.children[0], QN_KEY_KIND, "json", &error));
    ok(qn_schema_metadata_set(schema.children[0], QN_KEY_KIND, "uuid", &error));
    ok(qn_schema_copy(&schema, &copy, &error));
    assert_true(qn_schema_metadata_get(copy.children[0], QN_KEY_KIND, &value, &size));
    assert_int_equal(size, 4);
    assert_memory_equal(value, "uuid", 4);
    assert_true(qn_schema_metadata_get(copy.children[0], QN_KEY_SQL_TYPE, &value, &size));
    assert_int_equal(size, 11);
    assert_memory_equal(value, "varchar(20)", 11);
    assert_false(qn_schema_metadata_get(copy.children[0], "other", &value, &size));
}

/* The copies of a frozen schema live on their own, and so do children that a consumer has moved out. */
static void schema_share__outlives_what_it_shares_with(void **state)
{
    (void)state;
    struct ArrowSchema schema = { 0 }, first = { 0 }, second = { 0 };
    make_schema(&schema, 3, "id", "l", "tags", "+l", "", "tsu:UTC");
    struct qn_type text = qn_type_of(QN_TYPE_STRING_VIEW);
    ok(qn_schema_children(schema.children[1], 1, &error));
    ok(qn_schema_set(schema.children[1], 0, "item", &text, &error));
    ok(qn_schema_metadata_set(schema.children[0], QN_KEY_SQL_TYPE, "bigint", &error));
    ok(qn_schema_freeze(&schema, &error));
    ok(qn_schema_share(&schema, &first, &error));
    assert_ptr_equal(first.children[1]->name, schema.children[1]->name);
    qn_schema_release(&schema);
    ok(qn_schema_share(&first, &second, &error));
    struct ArrowSchema moved = *first.children[1];
    first.children[1]->release = NULL;
    qn_schema_release(&first);
    assert_string_equal(moved.name, "tags");
    assert_string_equal(moved.children[0]->format, "vu");
    qn_schema_release(&moved);
    assert_string_equal(second.format, "+s");
    assert_int_equal(second.n_children, 3);
    assert_true(second.children[0]->flags & ARROW_FLAG_NULLABLE);
    const char *value = NULL;
    size_t size = 0;
    assert_true(qn_schema_metadata_get(second.children[0], QN_KEY_SQL_TYPE, &value, &size));
    assert_int_equal(size, 6);
    assert_memory_equal(value, "bigint", 6);
    assert_string_equal(second.children[1]->children[0]->name, "item");
    assert_string_equal(second.children[2]->format, "tsu:UTC");
    qn_schema_release(&second);
}

static void schema_share__of_one_that_is_not_frozen_may_be_changed(void **state)
{
    (void)state;
    qn_auto_schema schema = { 0 }, copy = { 0 };
    make_schema(&schema, 1, "a", "l");
    ok(qn_schema_share(&schema, &copy, &error));
    struct qn_type text = qn_type_of(QN_TYPE_STRING_VIEW);
    ok(qn_schema_set(&copy, 0, "b", &text, &error));
    assert_string_equal(schema.children[0]->name, "a");
    assert_string_equal(schema.children[0]->format, "l");
}

static void schema_find__tells_none_from_many(void **state)
{
    (void)state;
    qn_auto_schema schema = { 0 };
    make_schema(&schema, 4, "a", "l", "b", "l", "a", "l", "", "l");
    assert_int_equal(qn_schema_find(&schema, "b"), 1);
    assert_int_equal(qn_schema_find(&schema, "a"), -2);
    assert_int_equal(qn_schema_find(&schema, "B"), -1);
    assert_int_equal(qn_schema_find(&schema, ""), 3);
}

static void schema_copy__refuses_what_is_malformed(void **state)
{
    (void)state;
    qn_auto_schema schema = { 0 };
    struct ArrowSchema copy = { 0 };
    make_schema(&schema, 1, "c", "l");
    struct ArrowSchema *child = schema.children[0];
    schema.n_children = -1;
    refused(qn_schema_copy(&schema, &copy, &error), QN_ERR_DATA, "number of children");
    schema.n_children = INT64_MAX;
    refused(qn_schema_copy(&schema, &copy, &error), QN_ERR_DATA, "number of children");
    schema.n_children = 1;
    schema.children[0] = NULL;
    refused(qn_schema_copy(&schema, &copy, &error), QN_ERR_DATA, "released");
    schema.children[0] = child;
    struct ArrowSchema released = { 0 };
    refused(qn_schema_copy(&released, &copy, &error), QN_ERR_DATA, "released");
    assert_null(copy.release);
}

static void schema_copy__has_a_limit_of_depth(void **state)
{
    (void)state;
    qn_auto_schema schema = { 0 };
    make_schema(&schema, 1, "c", "+l");
    struct qn_type list = qn_type_of(QN_TYPE_LIST);
    struct ArrowSchema *at = schema.children[0];
    for (int depth = 1; depth < 64; depth++) {
        ok(qn_schema_children(at, 1, &error));
        ok(qn_schema_set(at, 0, "item", &list, &error));
        at = at->children[0];
    }
    struct ArrowSchema copy = { 0 };
    ok(qn_schema_copy(&schema, &copy, &error));
    qn_schema_release(&copy);
    ok(qn_schema_children(at, 1, &error));
    refused(qn_schema_copy(&schema, &copy, &error), QN_ERR_DATA, "deeper than 64");
}

static void schema_release__of_nothing_is_allowed(void **state)
{
    (void)state;
    qn_schema_release(NULL);
    qn_array_release(NULL);
    qn_stream_release(NULL);
    struct ArrowSchema schema;
    ok(qn_schema_struct(&schema, 1, &error));
    qn_schema_release(&schema);
    assert_null(schema.release);
    qn_schema_release(&schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schema__is_what_nanoarrow_reads),
        cmocka_unit_test(schema__nests),
        cmocka_unit_test(schema__of_zero_fields_is_allowed),
        cmocka_unit_test(schema_metadata__is_added_replaced_and_copied),
        cmocka_unit_test(schema_share__outlives_what_it_shares_with),
        cmocka_unit_test(schema_share__of_one_that_is_not_frozen_may_be_changed),
        cmocka_unit_test(schema_find__tells_none_from_many),
        cmocka_unit_test(schema_copy__refuses_what_is_malformed),
        cmocka_unit_test(schema_copy__has_a_limit_of_depth),
        cmocka_unit_test(schema_release__of_nothing_is_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
