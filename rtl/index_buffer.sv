/// Index words of one bank, as bit planes: word i of a group holds bit i of the indices of eight steps x 64 rows. Two
/// groups are kept, so that the next one fills while the present one is used. Writes are visible in the next cycle.
module index_buffer (
    input  logic         clk_i,
    input  logic         write_i,
    input  logic         write_group_i,
    input  logic [  1:0] write_plane_i,
    input  logic [511:0] write_data_i,
    input  logic         read_group_i,
    input  logic [  2:0] read_step_i,
    output logic [191:0] planes_o  // bit 64*plane + row
);

  for (genvar plane = 0; plane < 3; plane++) begin : g_plane
    logic [511:0] group0_q, group1_q;
    always_ff @(posedge clk_i) begin
      if (write_i && write_plane_i == 2'(plane)) begin
        if (write_group_i) group1_q <= write_data_i;
        else group0_q <= write_data_i;
      end
    end
    assign planes_o[64*plane+:64] = read_group_i ? group1_q[{read_step_i, 6'd0}+:64] : group0_q[{read_step_i, 6'd0}+:64];
  end

`ifndef SYNTHESIS
  logic settled_q = 1'b0;
  always_ff @(posedge clk_i) begin
    settled_q <= 1'b1;
    assert (!settled_q || !write_i || write_plane_i != 2'd3) else $error("index_buffer: an index has three bits");
  end
`endif

endmodule
